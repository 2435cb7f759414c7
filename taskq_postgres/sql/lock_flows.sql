-- No member of these flows comes or ends before the end of this transaction.
select count(*) from (select 1 from {schema}.tally y where y.flow = any(%(ids)b::uuid[]) order by y.flow for update) k
