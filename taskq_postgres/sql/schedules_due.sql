-- The next schedules by their time, at the least one row for the clock: how many.
select statement_timestamp(), s.name, s.queue, s.spec, s.state, s.next_at at time zone 'UTC', s.revision
from (select 1) clock left join (
    select x.name, x.queue, x.spec, x.state, x.next_at, x.revision from {schema}.schedule x
    where x.next_at is not null order by x.next_at, x.name limit %b::int
) s on true order by s.next_at, s.name
