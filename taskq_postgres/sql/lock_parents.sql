-- Who waits, and for whom, a flow too, ends after this transaction; those that are blocked come last, as wherever one is
-- locked.
with named as materialized (
    select distinct substr(x, 2)::uuid as id from {schema}.task t, unnest(string_to_array(t.parents, ',')) x
        where t.id = any(%(ids)b::uuid[]) and t.state = 3
), running as materialized (
    select t.id from {schema}.task t where t.id in (select n.id from named n) and t.state <> 3
        order by t.id for no key update
), blocked as materialized (
    select t.id from {schema}.task t
        where (t.id in (select n.id from named n) or t.id = any(%(ids)b::uuid[])) and t.state = 3
            and (select count(*) from running) >= 0
        order by t.id for no key update
), flows as materialized (
    select f.id from {schema}.flow f where f.id in (select n.id from named n) and (select count(*) from blocked) >= 0
        order by f.id for share
)
select count(*) from flows
