select info, extract(epoch from seen_at)::float8 from {schema}.worker where lapses_at > clock_timestamp() order by id
