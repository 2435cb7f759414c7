-- Flows, the newest first: their ids or null, before (instant, id), limit.
select f.id::text, f.kind, f.name, f.spec, y.total, y.completed, y.failed, y.cancelled, f.created_at, f.is_held,
    f.closed_at, f.ended_at, f.cancel_reason, f.is_partial, f.fired, extract(epoch from f.created_at)::float8
from {schema}.flow f join {schema}.tally y on y.flow = f.id
where (%(ids)b::text[] is null or f.id = any(%(ids)b::text[]::uuid[]))
    and (f.created_at, f.id) < (to_timestamp(%(before)b::float8), %(below)b::text::uuid)
order by f.created_at desc, f.id desc limit %(limit)b::int
