-- Transactions of this database that are older than so many seconds: seconds, pid, 'prepared' or its state, whose it is.
select extract(epoch from clock_timestamp() - a.xact_start)::float8, a.pid::text, coalesce(a.state, ''),
        a.application_name
    from pg_catalog.pg_stat_activity a
    where a.datname = current_database() and a.backend_type = 'client backend' and a.pid <> pg_backend_pid()
        and a.xact_start < clock_timestamp() - %b::float8 * interval '1 second'
union all
select extract(epoch from clock_timestamp() - p.prepared)::float8, '', 'prepared', p.owner::text
    from pg_catalog.pg_prepared_xacts p
    where p.database = current_database() and p.prepared < clock_timestamp() - %b::float8 * interval '1 second'
order by 1 desc
