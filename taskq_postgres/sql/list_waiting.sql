-- Scheduled or retrying tasks of a queue, the one that is due last first: queue, state, below (instant, place), limit.
select {record}, extract(epoch from k.due_at)::float8, k.seq from {schema}.live r join (
    select t.id, t.due_at, t.seq from {schema}.task t
    where t.queue = %b::text and t.due_at is not null and t.state = %b::smallint
        and (t.due_at, t.seq) < (to_timestamp(%b::float8), %b::bigint)
    order by t.due_at desc, t.seq desc limit %b::int) k on k.id = r.id
order by k.due_at desc, k.seq desc
