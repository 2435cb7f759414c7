-- Ended tasks of queues: queues, states, since, until, before (instant, id), limit.
select {record}, k.id::text, k.completed_at from {schema}.search_queues_v1(%b::text[], %b::smallint[], %b::timestamptz, %b::timestamptz,
        %b::timestamptz, %b::text::uuid, %b::int) with ordinality k(id, completed_at, state, place)
    left join lateral (
        select f.* from {schema}.finished f where k.state <> 12 and f.id = k.id and f.completed_at = k.completed_at
        union all
        select d.* from {schema}.dead d where k.state = 12 and d.id = k.id and d.completed_at = k.completed_at) r on true
order by k.place
