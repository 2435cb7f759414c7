-- Change what is set for a queue: name, max_finished.
insert into {schema}.queue as q (name, max_finished) values (%b::text, %b::bigint)
on conflict (name) do update set max_finished = coalesce(excluded.max_finished, q.max_finished)
