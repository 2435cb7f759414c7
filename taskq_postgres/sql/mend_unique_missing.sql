-- Give tasks that live their unique keys, where nobody has them.
with taken as (
    insert into {schema}.unique_key (key, id, until, free_at) select t.unique_key, t.id, t.unique_until, null
        from {schema}.task t where t.id = any(%(ids)b::uuid[]) and t.unique_ttl is null
            and (t.unique_until = 'done' or t.unique_until = 'start' and t.fence = 0)
        order by t.unique_key
    on conflict do nothing returning 1
)
select count(*) from taken
