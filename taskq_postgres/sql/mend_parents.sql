-- Have blocked tasks wait for all their parents anew. What has ended, or is not known any more, is told by relay_v1.
with named as materialized (
    select distinct on (t.id, substr(x, 2)) t.id as child, substr(x, 2)::uuid as parent, left(x, 1) as policy
        from {schema}.task t, unnest(string_to_array(t.parents, ',')) x
        where t.id = any(%(ids)b::uuid[]) and t.state = 3
), bound as (
    insert into {schema}.edge (parent, child, on_failure) select n.parent, n.child, n.policy from named n
    on conflict do nothing
), told as (
    insert into {schema}.outbox (parent, state)
        select distinct on (n.parent) n.parent, coalesce(r.state, 10) from named n
            left join {schema}.record r on r.id = n.parent and r.state >= 10
            where not exists (select 1 from {schema}.task t where t.id = n.parent)
                and not exists (select 1 from {schema}.flow f where f.id = n.parent and f.closed_at is null)
            order by n.parent
    on conflict do nothing
), waiting as (
    update {schema}.task t set waits = k.number from (select n.child, count(*) as number from named n group by 1) k
        where t.id = k.child returning 1
)
select count(*) from waiting
