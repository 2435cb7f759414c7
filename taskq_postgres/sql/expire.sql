select {schema}.expire_v1(%b::int)
