-- Add a change that makes up for what queues count wrongly.
insert into {schema}.change (queue, state, day, number)
    select u.queue, u.state, u.day, u.number
        from unnest(%b::text[], %b::smallint[], %b::date[], %b::bigint[]) u(queue, state, day, number)
