-- Give running tasks their slots.
with taken as (
    insert into {schema}.holder (gate, id) select 'c:' || (l ->> 1), t.id
        from {schema}.task t, jsonb_array_elements(t.gates::jsonb) l
        where t.id = any(%(ids)b::uuid[]) and t.lease_until is not null and l ->> 0 = 'c'
    on conflict do nothing returning id
)
select count(distinct id) from taken
