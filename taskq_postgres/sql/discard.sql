-- Forget tasks that have ended: ids in their order, a token of the call.
select {schema}.discard_v1(%b::text[]::uuid[], %b::text::uuid)
