-- A page of unique keys in their order, after one, so many of them: each with its task, null where that lives.
select k.key, case when k.until <> 'ttl' and not exists (select 1 from {schema}.task t where t.id = k.id) then k.id::text end
from {schema}.unique_key k where k.key > %b::text order by k.key limit %b::int
