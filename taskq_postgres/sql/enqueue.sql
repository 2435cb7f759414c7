-- Store messages: one array for each field. Null when each was created, else a letter each.
select {schema}.enqueue_v1(
    %b::text[], %b::text[], %b::bytea[], %b::text[], %b::smallint[], %b::text[], %b::float8[], %b::float8[], %b::float8[],
    %b::int[], %b::boolean[], %b::float8[], %b::text[], %b::text[], %b::float8, %b::text, %b::bigint, %b::text, %b::boolean)
