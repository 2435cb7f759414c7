-- Forget results whose retention is over, at most so many.
delete from {schema}.result where (id, fence) in (
    select id, fence from {schema}.result where forget_at <= clock_timestamp() order by forget_at limit %b::int
    for update skip locked)
