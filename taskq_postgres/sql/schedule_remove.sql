-- Forget a schedule: its name.
delete from {schema}.schedule where name = %b::text
