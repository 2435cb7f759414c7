-- Forget the oldest entries of a journal: name, through which number.
delete from {schema}.journal where name = %b::text and number <= %b::bigint
