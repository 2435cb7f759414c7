-- What is left to be rolled up, the oldest first: limit.
select l.id, extract(epoch from l.at)::float8, l.data from {schema}.figures_left l order by l.at, l.id limit %b::int
