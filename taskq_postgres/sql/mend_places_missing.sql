-- Tasks that no claim would find: due now, or let out to meet their gates at their next claim.
with due as (
    update {schema}.task t set due_at = clock_timestamp()
        where t.id = any(%(ids)b::uuid[]) and t.state in (1, 2) and t.due_at is null and t.lease_until is null
        returning 1
), freed as (
    update {schema}.task t set state = 5, waits_at = null
        where t.id = any(%(ids)b::uuid[]) and t.state = 4 and t.lease_until is null
            and not exists (select 1 from {schema}.room r join {schema}.gate g on g.name = r.gate
                where r.gate = t.waits_at and r.queue = t.queue) returning 1
)
select (select count(*) from due) + (select count(*) from freed)
