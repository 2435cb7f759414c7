-- None of the tasks that have these keys begins anew before the end of this transaction.
with named as materialized (select k.id from {schema}.unique_key k where k.key = any(%(keys)b::text[]))
select (select count(*) from (
        select 1 from {schema}.dead d where d.id in (select n.id from named n) order by d.id for update) x)
    + (select count(*) from (
        select 1 from {schema}.finished f where f.id in (select n.id from named n) order by f.id for update) x)
