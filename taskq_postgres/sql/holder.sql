-- The task that holds a unique key: key.
select k.id::text from {schema}.unique_key k
where k.key = %b::text and (k.free_at is null or k.free_at > clock_timestamp())
    and (exists (select 1 from {schema}.task t where t.id = k.id)
        or k.until = 'ttl' and exists (select 1 from {schema}.record r where r.id = k.id))
