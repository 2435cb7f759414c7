-- How many tasks each queue has in each state; 100 stands for RUNNING, which is counted by way of the claims.
select queue, state, count(*) from {schema}.task group by 1, 2
union all
select t.queue, 100, count(*) from {schema}.claim c cross join unnest(c.ids) u(id)
    join {schema}.task t on t.id = u.id and t.claim_no = c.no and t.lease_until is not null group by 1
union all
select queue, state, count(*) from {schema}.finished group by 1, 2
union all
select queue, state, count(*) from {schema}.dead group by 1, 2
