-- How much queues count too few of each state, coded as in `change`, by the day of the end.
with actual as (
    select t.queue, case when t.state in (0, 4, 5) then 20 + t.priority else t.state end as state,
            null::date as day, count(*) as number
        from {schema}.task t group by 1, 2
    union all
    select f.queue, f.state, (f.completed_at at time zone 'UTC')::date, count(*) from {schema}.finished f group by 1, 2, 3
    union all
    select d.queue, d.state, null, count(*) from {schema}.dead d group by 1, 2
), counted as (
    select t.queue, t.state, t.day, t.number from {schema}.total t where t.state <> 30
    union all select c.queue, c.state, c.day, c.number from {schema}.change c where c.state <> 30
)
select k.queue, k.state::int, k.day, sum(k.number)::bigint from (
    select a.queue, a.state, a.day, a.number from actual a
    union all select c.queue, c.state, c.day, -c.number from counted c) k
group by 1, 2, 3 having sum(k.number) <> 0
