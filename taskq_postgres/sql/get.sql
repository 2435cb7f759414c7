-- All that is known of tasks: ids.
select {record} from unnest(%b::text[]::uuid[]) w (id)
cross join lateral (select * from {schema}.record x where x.id = w.id limit 1) r
