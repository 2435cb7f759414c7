-- Make the partitions of so many coming days.
select {schema}.make_days_v1(%b::int)
