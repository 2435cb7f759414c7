-- How many ended tasks a key finds: key, value, states, since, until, most.
select {schema}.search_count_v1(%b::text, %b::text, %b::smallint[], %b::timestamptz, %b::timestamptz, %b::int)
