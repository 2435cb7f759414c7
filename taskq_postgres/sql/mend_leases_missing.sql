-- Note for the reaper, which looks at claims, what runs and is in none. The leases stay what they are.
with lost as (
    select t.worker, t.claim_no, array_agg(t.id) as ids, min(t.lease_until) as lapses_at from {schema}.task t
        where t.id = any(%(ids)b::uuid[]) and t.lease_until is not null and not exists (
            select 1 from {schema}.claim c where c.worker = t.worker and c.no = t.claim_no and t.id = any(c.ids))
        group by 1, 2
), noted as (
    insert into {schema}.claim as c (worker, request, no, lapses_at, ids)
        select l.worker, '', coalesce(l.claim_no, 0), l.lapses_at, l.ids from lost l order by 1, 3
    on conflict (worker, no) do update set ids = c.ids || excluded.ids,
        lapses_at = case when c.ids = '{}' then excluded.lapses_at else least(c.lapses_at, excluded.lapses_at) end
    returning 1
)
select coalesce(sum(cardinality(l.ids)), 0)::bigint from lost l where (select count(*) from noted) > 0
