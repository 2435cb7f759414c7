-- Pause a queue: name, reason, until (seconds since the epoch).
insert into {schema}.queue (name, paused_reason, paused_until) values (%b::text, %b::text, to_timestamp(%b::float8))
on conflict (name) do update set paused_reason = excluded.paused_reason, paused_until = excluded.paused_until
