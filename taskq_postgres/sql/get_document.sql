-- A document: kind, id.
select d.data, d.version from {schema}.document d where d.kind = %b::text and d.id = %b::text
