-- Forget finished tasks: at most so many, and what a queue keeps that says nothing else.
select {schema}.prune_v1(%b::int, %b::bigint)
