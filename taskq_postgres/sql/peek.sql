-- The tasks that the next claims would take, in their order: queue, limit.
select {record} from {schema}.live r join (
    (select t.id, 0 as part, t.priority, ''::text as lane_group, t.seq from {schema}.task t
        where t.queue = %(queue)b::text and t.front order by t.priority desc, t.seq limit %(limit)b::int)
    union all
    (select t.id, 1, t.priority, null, t.seq from {schema}.task t where t.state = 5 and t.queue = %(queue)b::text
        order by t.priority desc, t.ready_at, t.seq limit %(limit)b::int)
    union all
    select n.id, 1, l.priority, l.lane_group, n.seq
    from (
        select p::smallint as priority, '' as lane_group from generate_series(0, 3) p
        union all
        select unnest(g.p_priorities), unnest(g.p_groups) from {schema}.groups_v1(%(queue)b::text) g) l
    cross join lateral (
        select t.id, t.seq from {schema}.task t
        where t.queue = %(queue)b::text and t.priority = l.priority and t.lane_group = l.lane_group and t.state = 0
            and not t.front and t.lease_until is null
        order by t.queue, t.priority, t.lane_group, t.seq limit %(limit)b::int) n
    order by 2, 3 desc, 4 nulls first, 5 limit %(limit)b::int) k on k.id = r.id
order by k.part, k.priority desc, k.lane_group nulls first, k.seq
