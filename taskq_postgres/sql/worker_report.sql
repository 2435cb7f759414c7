-- Note that a worker lives, and take what it is told: id, info, seconds.
select {schema}.report_v1(%b::text, %b::text, %b::float8)
