-- Tags of tasks that have not ended so, those of dropped days apart, which are being forgotten: the ids.
select distinct e.id::text from {schema}.ended_tag e
    where not exists (select 1 from {schema}.finished f
            where f.id = e.id and f.completed_at = e.completed_at and f.state = e.state)
        and not exists (select 1 from {schema}.dead d
            where d.id = e.id and d.completed_at = e.completed_at and d.state = e.state)
        and not exists (select 1 from {schema}.dropped_day x where x.day = (e.completed_at at time zone 'UTC')::date)
