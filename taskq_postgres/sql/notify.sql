-- Hints to those who listen: a channel and payloads.
select pg_catalog.pg_notify(%b::text, p) from unnest(%b::text[]) p
