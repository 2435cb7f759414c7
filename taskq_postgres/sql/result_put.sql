-- Keep a result: id, fence, bytes, seconds.
insert into {schema}.result (id, fence, body, forget_at)
values (%b::text::uuid, %b::bigint, %b::bytea, clock_timestamp() + %b::float8 * interval '1 second')
on conflict (id, fence) do update set body = excluded.body, forget_at = excluded.forget_at
