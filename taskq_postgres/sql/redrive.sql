select {schema}.redrive_v1(%b::text[]::uuid[])
