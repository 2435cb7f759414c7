-- Count members of flows that are gone as failed, those that were not counted as come.
with wrong as (
    select y.flow, y.total - y.completed - y.failed - y.cancelled - (
            select count(*) from {schema}.task t where t.flow = y.flow) as number
        from {schema}.tally y where y.flow = any(%(ids)b::uuid[])
), mended as (
    update {schema}.tally y set failed = y.failed + greatest(0, w.number), total = y.total - least(0, w.number),
            changed_at = clock_timestamp()
        from wrong w where w.flow = y.flow and w.number <> 0 returning 1
)
select count(*) from mended
