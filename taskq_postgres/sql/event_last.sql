select coalesce(max(no), 0) from {schema}.event
