-- What durability rests on.
select name, setting from pg_catalog.pg_settings
where name in ('fsync', 'full_page_writes', 'synchronous_commit', 'synchronous_standby_names')
