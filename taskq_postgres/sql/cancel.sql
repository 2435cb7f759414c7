-- Cancel tasks: ids in their order, the reason, a token of the call.
select {schema}.cancel_v1(%b::text[]::uuid[], %b::text, %b::text::uuid)
