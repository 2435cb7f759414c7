-- Append lines to the log of a run: JSON strings, then id, fence and worker, a token of the call.
select {schema}.log_v1(%b::text[], %b::text::uuid, %b::bigint, %b::text, %b::text::uuid)
