-- The rows of figures of one step, the oldest first: step, from which instant on, before which.
select f.at, f.data, f.version from {schema}.figures f
where f.step = %b::int and f.at >= %b::bigint and f.at < %b::bigint order by f.at
