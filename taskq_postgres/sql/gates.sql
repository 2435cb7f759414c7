-- How limits stand, as tasks of a queue meet them: queue, names of gates.
select * from {schema}.gates_v1(%b::text, %b::text[])
