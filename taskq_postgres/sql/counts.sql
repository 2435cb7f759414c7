-- How many tasks each queue has in each state, coded as in `change`; 100 stands for RUNNING, which is counted by way of
-- the claims. The last column tells how many changes there were to sum up.
select k.queue, k.state, sum(k.number)::bigint, sum(k.changes)::bigint from (
    select t.queue, t.state, t.number, 0 as changes from {schema}.total t
    union all select c.queue, c.state, sum(c.number), count(*) from {schema}.change c group by 1, 2) k
group by 1, 2
union all
select t.queue, 100, count(*), 0 from {schema}.claim c cross join unnest(c.ids) u(id)
    join {schema}.task t on t.id = u.id and t.claim_no = c.no and t.lease_until is not null group by 1
