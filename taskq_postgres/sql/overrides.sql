-- What holds for gates instead of what tasks bring along, by name.
select o.gate, o.figures::text from {schema}.override o
    where coalesce((o.figures ->> 'until')::float8 > extract(epoch from clock_timestamp()), true)
