-- Write schedules: names, queues, specs, states, when they are due, revisions, what fires.
select {schema}.commit_schedules_v1(
    %b::text[], %b::text[], %b::bytea[], %b::bytea[], %b::timestamptz[], %b::bigint[], %b::text[])
