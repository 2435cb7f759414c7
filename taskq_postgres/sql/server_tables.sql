-- The tables of which rows come and go: name, live and dead rows, bytes, whether they are vacuumed automatically.
select s.relname, s.n_live_tup, s.n_dead_tup, pg_catalog.pg_table_size(s.relid),
    not coalesce(c.reloptions && '{autovacuum_enabled=false,autovacuum_enabled=off}', false)
from pg_catalog.pg_stat_user_tables s join pg_catalog.pg_class c on c.oid = s.relid
where s.schemaname = {literal}
    and s.relname in ('task', 'claim', 'change', 'edge', 'gate', 'depth', 'turn', 'watch', 'worker', 'dead')
order by 1
