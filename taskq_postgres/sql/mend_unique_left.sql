-- Forget unique keys of tasks that are over.
with gone as (
    delete from {schema}.unique_key k where k.id = any(%(ids)b::uuid[]) and k.until <> 'ttl'
        and not exists (select 1 from {schema}.task t where t.id = k.id) returning 1
)
select count(*) from gone
