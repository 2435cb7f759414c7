-- How queues stand: how many groups to look at. For each its name, tasks that came in, those PENDING of priority 0 to 3,
-- and the instant from which on the first of them is ready.
with counted as (
    select k.queue, k.state, sum(k.number)::bigint as number from (
        select t.queue, t.state, t.number from {schema}.total t where t.state >= 20
        union all select c.queue, c.state, c.number from {schema}.change c where c.state >= 20
        union all select t.queue, 20 + t.priority, -1 from {schema}.claim c cross join unnest(c.ids) u(id)
            join {schema}.task t on t.id = u.id and t.claim_no = c.no and t.lease_until is not null) k
    group by 1, 2
), numbers as (
    select c.queue, jsonb_object_agg(c.state, c.number) as of from counted c group by 1
)
select n.queue, coalesce((n.of ->> '30')::bigint, 0),
    array(select greatest(0, coalesce((n.of ->> s::text)::bigint, 0)) from generate_series(20, 23) s),
    extract(epoch from clock_timestamp() - case when exists (
            select 1 from generate_series(20, 23) s where (n.of ->> s::text)::bigint > 0) then least(
        (select min(h.ready_at) from (
            select p::smallint as priority, '' as lane_group from generate_series(0, 3) p
            union all
            (select x.priority, x.lane_group from {schema}.groups_v1(n.queue) g,
                unnest(g.p_priorities, g.p_groups) x(priority, lane_group) limit %b::int)) l
            cross join lateral (select t.ready_at from {schema}.task t
                where t.queue = n.queue and t.priority = l.priority and t.lane_group = l.lane_group and t.state = 0
                    and not t.front and t.lease_until is null
                order by t.queue, t.priority, t.lane_group, t.seq limit 1) h),
        (select min(h.ready_at) from generate_series(0, 3) p cross join lateral (select t.ready_at from {schema}.task t
            where t.state = 5 and t.queue = n.queue and t.priority = p::smallint
            order by t.queue, t.priority desc, t.ready_at, t.seq limit 1) h),
        (select min(t.ready_at) from (select k.ready_at from {schema}.task k where k.queue = n.queue and k.front
            limit 1000) t)) end)::float8
from numbers n
