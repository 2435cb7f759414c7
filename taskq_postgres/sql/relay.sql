-- Go on with what is left of ends and flows: limit, seconds after which a flow is abandoned, why.
select {schema}.relay_v1(%b::int, %b::float8, %b::text)
