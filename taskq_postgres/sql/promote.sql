select {schema}.promote_v1(null, %b::int)
