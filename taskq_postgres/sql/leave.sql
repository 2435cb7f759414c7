-- Leave figures to be rolled up: id, data, how much may be left.
select {schema}.leave_v1(%b::text, %b::bytea, %b::int)
