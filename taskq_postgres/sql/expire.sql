-- End tasks whose time to live is over, at most so many; returns their ids.
select {schema}.expire_v1(%b::int)::text[]
