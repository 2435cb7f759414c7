-- Rooms of which the gate is gone, and in which nobody waits.
with gone as (
    delete from {schema}.room r where not exists (select 1 from {schema}.gate g where g.name = r.gate)
        and not exists (select 1 from {schema}.task t where t.state = 4 and t.waits_at = r.gate and t.queue = r.queue)
        returning 1
)
select count(*) from gone
