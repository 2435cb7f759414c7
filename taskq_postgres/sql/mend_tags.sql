-- Forget the tags of tasks that have not ended so.
with gone as (
    delete from {schema}.ended_tag e where e.id = any(%(ids)b::uuid[])
        and not exists (select 1 from {schema}.finished f
            where f.id = e.id and f.completed_at = e.completed_at and f.state = e.state)
        and not exists (select 1 from {schema}.dead d
            where d.id = e.id and d.completed_at = e.completed_at and d.state = e.state)
        returning e.id
)
select count(distinct id) from gone
