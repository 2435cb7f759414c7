-- Tasks of a queue that wait for others, the newest first: queue, state, below (instant, place), limit.
select {record}, extract(epoch from k.created_at)::float8, k.seq from {schema}.live r join (
    select t.id, t.created_at, t.seq from {schema}.task t
    where t.queue = %b::text and t.state = 3 and %b::smallint = 3
        and (t.created_at, t.seq) < (to_timestamp(%b::float8), %b::bigint)
    order by t.created_at desc, t.seq desc limit %b::int) k on k.id = r.id
order by k.created_at desc, k.seq desc
