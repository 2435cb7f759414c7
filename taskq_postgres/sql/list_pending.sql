-- Pending tasks of a queue, the one that entered its lane last first: queue, queue, below (place), limit, limit.
select {record}, 0::float8, k.seq from {schema}.live r join (
    (select t.id, t.seq from {schema}.task t where t.queue = %(queue)b::text and t.front and t.seq < %(below)b::bigint
        order by t.seq desc limit %(limit)b::int)
    union all
    (select t.id, t.seq from {schema}.task t where t.state = 5 and t.queue = %(queue)b::text and t.seq < %(below)b::bigint
        order by t.seq desc limit %(limit)b::int)
    union all
    (select t.id, t.seq from {schema}.room r join {schema}.task t
            on t.state = 4 and t.waits_at = r.gate and t.queue = r.queue
        where r.queue = %(queue)b::text and t.seq < %(below)b::bigint order by t.seq desc limit %(limit)b::int)
    union all
    select n.id, n.seq
    from (
        select p::smallint as priority, '' as lane_group from generate_series(0, 3) p
        union all
        select unnest(g.p_priorities), unnest(g.p_groups) from {schema}.groups_v1(%(queue)b::text) g) l
    cross join lateral (
        select t.id, t.seq from {schema}.task t
        where t.queue = %(queue)b::text and t.priority = l.priority and t.lane_group = l.lane_group and t.state = 0
            and not t.front and t.lease_until is null and t.seq < %(below)b::bigint
        order by t.queue desc, t.priority desc, t.lane_group desc, t.seq desc limit %(limit)b::int) n
    order by 2 desc limit %(limit)b::int) k on k.id = r.id
order by k.seq desc
