-- Add an entry at the end of a journal: name, number, data.
select {schema}.append_v1(%b::text, %b::bigint, %b::bytea)
