-- Events of these topics after a number.
select no, topic, data from {schema}.event where no > %b::bigint and topic = any(%b::text[]) order by no limit 1000
