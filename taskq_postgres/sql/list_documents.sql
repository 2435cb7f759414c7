-- Documents of a kind by their ids: kind, after which id, limit.
select d.id, d.data, d.version from {schema}.document d where d.kind = %b::text and d.id > %b::text
order by d.id limit %b::int
