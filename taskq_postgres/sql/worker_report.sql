-- Note that a worker lives, and take what it is told: info, seconds, id.
with told as materialized (select id, commands from {schema}.worker where id = %(id)b::text for update)
insert into {schema}.worker as w (id, info, seen_at, lapses_at)
values (%(id)b::text, %(info)b::text, clock_timestamp(), clock_timestamp() + %(ttl)b::float8 * interval '1 second')
on conflict (id) do update set info = excluded.info, commands = '{}', seen_at = excluded.seen_at,
    lapses_at = excluded.lapses_at
returning (select commands from told)
