-- Forget unique keys of tasks that are over.
with named as materialized (
    select k.key, k.id from {schema}.unique_key k where k.key = any(%(keys)b::text[]) and k.until <> 'ttl'
        and not exists (select 1 from {schema}.task t where t.id = k.id)
), gone as (
    delete from {schema}.unique_key k using named n where k.key = n.key and k.id = n.id returning 1
)
select count(*) from gone
