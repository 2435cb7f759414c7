-- Entries of a journal, the oldest first: name, after which number, limit.
select j.number, j.data from {schema}.journal j where j.name = %b::text and j.number > %b::bigint
order by j.number limit %b::int
