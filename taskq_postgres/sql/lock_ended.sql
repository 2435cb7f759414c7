-- None of these tasks begins anew before the end of this transaction.
select (select count(*) from (select 1 from {schema}.dead d where d.id = any(%(ids)b::uuid[]) order by d.id for update) x)
    + (select count(*) from (select 1 from {schema}.finished f where f.id = any(%(ids)b::uuid[]) order by f.id for update) x)
