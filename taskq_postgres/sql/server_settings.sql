-- What a server says of itself: names and values.
select name, setting from pg_catalog.pg_settings where name in ('autovacuum', 'fsync', 'full_page_writes',
    'max_connections', 'superuser_reserved_connections', 'server_version', 'server_version_num', 'synchronous_commit',
    'synchronous_standby_names')
union all select 'connections', count(*)::text from pg_catalog.pg_stat_activity where backend_type = 'client backend'
