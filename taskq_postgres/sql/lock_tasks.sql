-- None of these tasks ends, or begins to run, before the end of this transaction.
select count(*) from (
    select 1 from {schema}.task t where t.id = any(%(ids)b::uuid[]) order by t.id for no key update) k
