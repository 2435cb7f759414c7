-- oldest speaking: 7

-- Schedules: what is due, and one writer for each step.

create table {schema}.schedule (
    name text primary key,
    queue text not null,
    spec bytea not null,
    state bytea not null,
    next_at timestamptz,
    revision bigint not null
);
create index on {schema}.schedule (next_at, name) where next_at is not null;

-- Write schedules, arrays of one length in the order of their names, and enqueue what fires: p_fires has a JSON array of
-- messages each, as for enqueue_json_v1, or null. Returns for each null where somebody else has written it meanwhile,
-- else what enqueue_json_v1 has answered, '' where that was null.
create function {schema}.commit_schedules_v1(
    p_names text[], p_queues text[], p_specs bytea[], p_states bytea[], p_next_at timestamptz[], p_revisions bigint[],
    p_fires text[]
) returns text[] language plpgsql set enable_seqscan = off as $$
declare
    v_answers text[] := '{}';
begin
    for i in 1 .. cardinality(p_names) loop
        if p_revisions[i] = 0 then
            insert into {schema}.schedule (name, queue, spec, state, next_at, revision)
                values (p_names[i], p_queues[i], p_specs[i], p_states[i], p_next_at[i], 1)
                on conflict (name) do nothing;
        else
            update {schema}.schedule s set queue = p_queues[i], spec = p_specs[i], state = p_states[i],
                    next_at = p_next_at[i], revision = s.revision + 1
                where s.name = p_names[i] and s.revision = p_revisions[i];
        end if;
        if not found then  -- unless this is said again, and was applied
            perform 1 from {schema}.schedule s
                where s.name = p_names[i] and s.revision = p_revisions[i] + 1 and s.queue = p_queues[i]
                    and s.spec = p_specs[i] and s.state = p_states[i] and s.next_at is not distinct from p_next_at[i];
        end if;
        v_answers := v_answers || case when not found then null
            when p_fires[i] is null then '' else coalesce({schema}.enqueue_json_v1(p_fires[i], false), '') end;
    end loop;
    return v_answers;
end $$;
