-- A page of live tasks in the order of their ids, after one, so many of them: the kind of damage
-- (taskq.ports.diagnosis.Damage) and the id for each that is wrong, and a row without a kind for each of the page.
with page as materialized (
    select t.id, t.state, t.lease_until, t.due_at, t.front, t.queue, t.waits_at, t.worker, t.claim_no, t.parents,
            t.waits, t.flow, t.gates, t.unique_key, t.unique_until, t.unique_ttl, t.fence
        from {schema}.task t where t.id > %b::uuid order by t.id limit %b::int
)
select null, p.id::text from page p
union all
select 'places.missing', p.id::text from page p
    where p.lease_until is null and (p.state in (1, 2) and p.due_at is null
        or p.state = 4 and not exists (select 1 from {schema}.room r join {schema}.gate g on g.name = r.gate
            where r.gate = p.waits_at and r.queue = p.queue))
union all
select 'places.left', p.id::text from page p
    where p.due_at is not null and (p.state not in (1, 2) or p.lease_until is not null)
        or p.front and (p.state <> 0 or p.lease_until is not null)
union all
select 'leases.missing', p.id::text from page p
    where p.lease_until is not null and not exists (
        select 1 from {schema}.claim c where c.worker = p.worker and c.no = p.claim_no and p.id = any(c.ids))
union all
select 'parents', p.id::text from page p
    where p.state = 3 and not exists (select 1 from {schema}.flow f where f.id = p.flow and f.cancel_reason is not null)
        and (coalesce(p.waits, 0) < 1
            or p.waits <> (
                select count(*) from (
                        select distinct substr(x, 2)::uuid as id from unnest(string_to_array(p.parents, ',')) x) u
                    join {schema}.edge e on e.parent = u.id and e.child = p.id)
            or exists (
                select 1 from unnest(string_to_array(p.parents, ',')) x
                    join {schema}.edge e on e.parent = substr(x, 2)::uuid and e.child = p.id
                    where not exists (select 1 from {schema}.task t where t.id = e.parent and t.has_children)
                        and not exists (select 1 from {schema}.outbox o where o.parent = e.parent)
                        and not exists (select 1 from {schema}.flow f where f.id = e.parent and f.closed_at is null)))
union all
select 'limits.missing', p.id::text from page p
    where p.lease_until is not null and exists (
        select 1 from jsonb_array_elements(p.gates::jsonb) l where l ->> 0 = 'c'
            and not exists (select 1 from {schema}.holder h where h.gate = 'c:' || (l ->> 1) and h.id = p.id))
union all
select 'unique.missing', p.id::text from page p
    where p.unique_ttl is null and (p.unique_until = 'done' or p.unique_until = 'start' and p.fence = 0)
        and not exists (select 1 from {schema}.unique_key k where k.key = p.unique_key)
