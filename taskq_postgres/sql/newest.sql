-- The number of the entry that was added last to a journal: name.
select coalesce((select e.newest from {schema}.journal_end e where e.name = %b::text), 0)
