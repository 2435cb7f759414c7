-- Values that ended tasks have: key, how they begin, limit.
select x from {schema}.search_values_v1(%b::text, %b::text, %b::int) x
