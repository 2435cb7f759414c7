-- Free the slots of tasks that do not run.
with gone as (
    delete from {schema}.holder h where h.id = any(%(ids)b::uuid[])
        and not exists (select 1 from {schema}.task t, jsonb_array_elements(t.gates::jsonb) l
            where t.id = h.id and t.lease_until is not null and (l ->> 0) || ':' || (l ->> 1) = h.gate)
        returning h.gate, h.id
), opened as (
    select {schema}.open_gate_v1(g.gate, clock_timestamp()) from (select distinct gate from gone) g
)
select count(distinct g.id) from gone g where (select count(*) from opened) > 0
