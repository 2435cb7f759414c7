-- A page of unique keys in their order, after one, so many of them: each with whether its task lives, or it is kept for
-- a time.
select k.key, k.until = 'ttl' or exists (select 1 from {schema}.task t where t.id = k.id)
from {schema}.unique_key k where k.key > %b::text order by k.key limit %b::int
