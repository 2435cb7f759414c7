-- Append lines to the log of a run, of which 100 are kept: JSON strings, then id, fence and worker.
update {schema}.task t
set logs = (select array_agg(line order by ord) from (
    select line, ord from unnest(coalesce(t.logs, '{}') || %b::text[]) with ordinality x(line, ord)
    order by ord desc limit 100) kept)
where t.id = %b::text::uuid and t.fence = %b::bigint and t.worker = %b::text and t.settled_fence < t.fence and t.state = 0
