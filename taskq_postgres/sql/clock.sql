-- The server's clock.
select extract(epoch from clock_timestamp())::float8
