-- Tell a worker something: command, id.
update {schema}.worker set commands = commands || %b::text where id = %b::text and lapses_at > clock_timestamp()
