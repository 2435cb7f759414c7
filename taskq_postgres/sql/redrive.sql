-- Give tasks another life: ids in their order, a token of the call.
select {schema}.redrive_v1(%b::text[]::uuid[], %b::text::uuid)
