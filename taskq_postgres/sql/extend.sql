-- Extend leases: ids in their order, fences, workers, seconds.
select p_lost, p_wanted from {schema}.extend_v2(%b::text[]::uuid[], %b::bigint[], %b::text[], %b::float8)
