-- Give tasks another life: ids in their order, the queue they go to or null, a token of the call.
select {schema}.redrive_v1(%b::text[]::uuid[], %b::text, %b::text::uuid)
