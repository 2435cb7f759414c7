-- The indexes of the schema, those of its days apart: names, and whether each is whole.
select i.relname, x.indisvalid and x.indisready from pg_catalog.pg_index x
    join pg_catalog.pg_class i on i.oid = x.indexrelid
    join pg_catalog.pg_class t on t.oid = x.indrelid
    where t.relnamespace = {literal}::regnamespace and not t.relispartition
