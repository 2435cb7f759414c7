-- Finished tasks of a queue, the last one first: queue, state, below (instant, place), limit.
select {record}, extract(epoch from r.completed_at)::float8, r.seq from {schema}.finished r
where r.queue = %b::text and r.state = %b::smallint and (r.completed_at, r.seq) < (to_timestamp(%b::float8), %b::bigint)
order by r.completed_at desc, r.seq desc limit %b::int
