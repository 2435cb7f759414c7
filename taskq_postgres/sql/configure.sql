-- Change what is set for a queue: its name, then for each setting whether it is changed, and to what (null: the default).
insert into {schema}.queue as q (
    name, max_finished, max_size, warn_at, workers, rate, weight, retry, timeout, soft_timeout, expires)
values (%(queue)b::text, %(max_finished)b::bigint, %(max_size)b::bigint, %(warn_at)b::float8, %(workers)b::int,
    %(rate)b::text::jsonb, %(weight)b::float8, %(retry)b::text, %(timeout)b::float8, %(soft_timeout)b::float8,
    %(expires)b::float8)
on conflict (name) do update set
    max_finished = case when 'max_finished' = any(%(changed)b::text[]) then excluded.max_finished else q.max_finished end,
    max_size = case when 'max_size' = any(%(changed)b::text[]) then excluded.max_size else q.max_size end,
    warn_at = case when 'warn_at' = any(%(changed)b::text[]) then excluded.warn_at else q.warn_at end,
    workers = case when 'workers' = any(%(changed)b::text[]) then excluded.workers else q.workers end,
    rate = case when 'rate' = any(%(changed)b::text[]) then excluded.rate else q.rate end,
    weight = case when 'weight' = any(%(changed)b::text[]) then excluded.weight else q.weight end,
    retry = case when 'retry' = any(%(changed)b::text[]) then excluded.retry else q.retry end,
    timeout = case when 'timeout' = any(%(changed)b::text[]) then excluded.timeout else q.timeout end,
    soft_timeout = case when 'soft_timeout' = any(%(changed)b::text[]) then excluded.soft_timeout else q.soft_timeout end,
    expires = case when 'expires' = any(%(changed)b::text[]) then excluded.expires else q.expires end
