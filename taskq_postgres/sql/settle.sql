-- Settle runs, in the order of their ids: one array for each field, then the worker and its claims that are through.
select {schema}.settle_v1(
    %b::text[]::uuid[], %b::bigint[], %b::text[], %b::smallint[], %b::float8[], %b::bytea[], %b::text[], %b::bytea[],
    %b::text, %b::bigint[])
