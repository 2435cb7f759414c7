-- Running tasks of a queue, the newest claim first, found by way of the claims: queue, below (claim, place), limit.
select {record}, t.claim_no::float8, t.seq from (
    select t.* from {schema}.claim c cross join unnest(c.ids) u(id) join {schema}.task t
        on t.id = u.id and t.claim_no = c.no and t.lease_until is not null
    where t.queue = %b::text and (t.claim_no, t.seq) < (%b::bigint, %b::bigint)
    order by t.claim_no desc, t.seq desc limit %b::int) t
join {schema}.live r on r.id = t.id
order by t.claim_no desc, t.seq desc
