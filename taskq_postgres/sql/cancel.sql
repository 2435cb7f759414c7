-- Cancel tasks: ids in their order, and the reason.
select {schema}.cancel_v1(%b::text[]::uuid[], %b::text)
