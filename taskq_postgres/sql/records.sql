-- How many records there are, as they are counted.
select coalesce(sum(k.number), 0)::bigint from (
    select t.number from {schema}.total t where t.state <> 30
    union all select c.number from {schema}.change c where c.state <> 30) k
