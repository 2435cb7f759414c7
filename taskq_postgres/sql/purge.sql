select {schema}.purge_v1(%b::text, %b::int)
