-- Nobody passes, or leaves, the gates of which these tasks hold slots before the end of this transaction.
select count(*) from (
    select 1 from {schema}.gate g
        where g.name in (select h.gate from {schema}.holder h where h.id = any(%(ids)b::uuid[]))
        order by g.name for update) k
