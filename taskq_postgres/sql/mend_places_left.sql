-- Tasks that would be found where they are not: in front, or among those that wait for their time.
with mended as (
    update {schema}.task t set front = t.front and t.state = 0 and t.lease_until is null,
            due_at = case when t.state in (1, 2) and t.lease_until is null then t.due_at end
        where t.id = any(%(ids)b::uuid[])
            and (t.due_at is not null and (t.state not in (1, 2) or t.lease_until is not null)
            or t.front and (t.state <> 0 or t.lease_until is not null)) returning 1
)
select count(*) from mended
