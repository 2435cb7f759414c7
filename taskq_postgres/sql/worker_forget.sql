delete from {schema}.worker where id = %b::text
