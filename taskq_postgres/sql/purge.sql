-- Cancel waiting tasks: queue, at most so many, a token of the call; returns their ids.
select {schema}.purge_v1(%b::text, %b::int, %b::text::uuid)
