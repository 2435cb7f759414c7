-- What is set for tenants by their names: after which, limit.
select k.name, k.weight, k.running, k.rate::text, k.unfinished, k.payload_bytes from {schema}.tenant k
where k.name > %b::text order by k.name limit %b::int
