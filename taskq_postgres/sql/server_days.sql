-- The days of finished tasks: names, what today and tomorrow are called, and whether they ended more than so many
-- seconds ago and nothing in them is kept longer.
select c.relname, 'finished_' || to_char(clock_timestamp() at time zone 'UTC', 'YYYYMMDD'),
    'finished_' || to_char((clock_timestamp() + interval '1 day') at time zone 'UTC', 'YYYYMMDD'),
    c.relname < 'finished_' || to_char((clock_timestamp() - %b::float8 * interval '1 second')
        at time zone 'UTC', 'YYYYMMDD') and not {schema}.is_day_kept_v1(c.relname)
from pg_catalog.pg_inherits i join pg_catalog.pg_class c on c.oid = i.inhrelid
where i.inhparent = '{schema}.finished'::regclass order by 1
