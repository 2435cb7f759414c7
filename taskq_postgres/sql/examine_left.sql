-- What is left over of tasks: slots that are held by those that do not run, rooms of which the gate is gone.
select 'limits.left', h.id::text from {schema}.holder h
    where not exists (select 1 from {schema}.task t, jsonb_array_elements(t.gates::jsonb) l
        where t.id = h.id and t.lease_until is not null and (l ->> 0) || ':' || (l ->> 1) = h.gate)
union all
select 'places.left', r.queue || ' ' || r.gate from {schema}.room r
    where not exists (select 1 from {schema}.gate g where g.name = r.gate)
        and not exists (select 1 from {schema}.task t where t.state = 4 and t.waits_at = r.gate and t.queue = r.queue)
