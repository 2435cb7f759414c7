-- Forget the rows of figures of one step that begin before an instant: step, instant.
delete from {schema}.figures f where f.step = %b::int and f.at < %b::bigint
