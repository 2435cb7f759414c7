-- Flows that count another number of pending members than live: how many too many.
select y.flow::text, y.total - y.completed - y.failed - y.cancelled - coalesce(l.number, 0)
from {schema}.tally y
    left join (
        select t.flow, count(*) as number from {schema}.task t where t.flow is not null group by t.flow) l
        on l.flow = y.flow
where y.total - y.completed - y.failed - y.cancelled <> coalesce(l.number, 0)
