-- Schedules by name: a name, null for all.
select s.name, s.queue, s.spec, s.state, s.next_at at time zone 'UTC', s.revision from {schema}.schedule s
where s.name = %b::text or %b::text is null order by s.name collate "C"
