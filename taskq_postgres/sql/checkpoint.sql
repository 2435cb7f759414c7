-- Replace the checkpoint of a run: bytes, then id, fence and worker.
update {schema}.task t set checkpoint = %b::bytea
where t.id = %b::text::uuid and t.fence = %b::bigint and t.worker = %b::text and t.settled_fence < t.fence
    and t.state in (0, 4, 5)
