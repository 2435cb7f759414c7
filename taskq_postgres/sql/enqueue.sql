-- Store messages: one array for each field, then what only some have, who enqueues, whether it is all or none, and whether
-- to look at the queues. Null or '' when each was created, else a letter each, and perhaps a line of JSON (enqueue_v1).
select {schema}.enqueue_v1(
    %b::text[], %b::text[], %b::bytea[], %b::text[], %b::smallint[], %b::text[], %b::float8[], %b::float8[], %b::float8[],
    %b::int[], %b::boolean[], %b::float8[], %b::text[], %b::text[], %b::text::jsonb, %b::float8, %b::text, %b::bigint,
    %b::text, %b::boolean, true, %b::boolean)
