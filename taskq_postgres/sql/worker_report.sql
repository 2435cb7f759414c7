-- Note that a worker lives, and take what it is told: id, info, seconds, a token of the call.
select {schema}.report_v1(%b::text, %b::text, %b::float8, %b::text::uuid)
