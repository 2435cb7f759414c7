-- What is set for a tenant.
select k.weight, k.running, k.rate::text, k.unfinished, k.payload_bytes from {schema}.tenant k where k.name = %b::text
