-- The periodic duties: bounded, idempotent, never waiting for a row.

-- One tick of the reaper. It looks only at claims of which a lease may have run out.
create function {schema}.reap_v1(
    p_limit int, p_renewal float8, out p_requeued int, out p_buried int, out p_cancelled int, out p_is_holding boolean
) language plpgsql as $$
declare
    v_now timestamptz := clock_timestamp();
    v_tick float8 := extract(epoch from v_now);
    v_watch {schema}.watch;
    v_claim {schema}.claim;
    v_next timestamptz;
    v_claims bigint[];
    v_ids uuid[];
    v_state smallint;
    t {schema}.task;
begin
    p_requeued := 0; p_buried := 0; p_cancelled := 0; p_is_holding := false;
    select * into v_watch from {schema}.watch for no key update skip locked;
    if not found then
        return;  -- another reaper is at it
    end if;
    -- taskq.domain.lease.tick
    if v_tick - v_watch.last_tick > p_renewal or v_tick < v_watch.last_tick - 1 then
        v_watch.hold_until := v_tick + p_renewal;
    end if;
    v_watch.hold_until := least(v_watch.hold_until, v_tick + p_renewal);
    update {schema}.watch set last_tick = v_tick, hold_until = v_watch.hold_until;
    if v_tick < v_watch.hold_until then
        p_is_holding := true;
        return;
    end if;

    select array_agg(c.no), array_agg(i.id) into v_claims, v_ids from (
            select no, ids from {schema}.claim where lapses_at <= v_now
                order by lapses_at limit p_limit for update skip locked) c
        left join lateral unnest(c.ids) i(id) on true;
    for t in select * from {schema}.task k
        where k.id = any(v_ids) and k.claim_no = any(v_claims) and k.lease_until <= v_now
        order by k.id limit p_limit for update
    loop
        v_state := {schema}.lose_v1(t, 'lease lost', null, v_now);
        p_requeued := p_requeued + (v_state = 0)::int;
        p_buried := p_buried + (v_state in (11, 12))::int;
        p_cancelled := p_cancelled + (v_state = 13)::int;
    end loop;
    for v_claim in select * from {schema}.claim c where c.no = any(v_claims) loop
        select min(k.lease_until) into v_next from {schema}.task k
            where k.id = any(v_claim.ids) and k.claim_no = v_claim.no and k.lease_until is not null;
        if v_next is not null then
            update {schema}.claim c set lapses_at = v_next where c.worker = v_claim.worker and c.no = v_claim.no;
        elsif v_claim.ids = '{}' or exists (
            select 1 from {schema}.claim c where c.worker = v_claim.worker and c.no > v_claim.no)
        then
            delete from {schema}.claim c where c.worker = v_claim.worker and c.no = v_claim.no;
        else
            -- A worker's newest claim is kept for a while, so that its request is known when it is said again.
            update {schema}.claim c set ids = '{}', lapses_at = v_now + interval '10 minutes'
                where c.worker = v_claim.worker and c.no = v_claim.no;
        end if;
    end loop;
end $$;

-- End waiting tasks whose time to live is over.
create function {schema}.expire_v1(p_limit int) returns int language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off as $$
declare
    v_now timestamptz := clock_timestamp();
    v_ended int := 0;
    t {schema}.task;
begin
    for t in select * from {schema}.task k where k.expires_at <= v_now and k.lease_until is null
        order by k.expires_at limit p_limit for update skip locked
    loop
        t.state := 14;
        perform {schema}.end_v1(t, '', null, v_now);
        v_ended := v_ended + 1;
    end loop;
    return v_ended;
end $$;

-- Remember ids whose task ended less than ten minutes ago.
create function {schema}.bury_ids_v1(p_ids uuid[], p_ended timestamptz[]) returns int language sql as $$
    insert into {schema}.tombstone (id, forget_at)
        select u.id, clock_timestamp() + interval '10 minutes' from unnest(p_ids, p_ended) u(id, ended)
        order by u.id
    on conflict (id) do update set forget_at = excluded.forget_at;
    select cardinality(p_ids);
$$;

-- Forget up to p_limit finished tasks by age and by count (p_max: of a queue that says nothing else).
create function {schema}.prune_v1(p_limit int, p_max bigint) returns int language plpgsql as $$
declare
    v_now timestamptz := clock_timestamp();
    v_table text;
    v_pruned int := 0;
    v_queue text;
    v_limit bigint;
    v_cut timestamptz;
    v_seq bigint;
    v_ids uuid[];
    v_ended timestamptz[];
begin
    if not pg_try_advisory_xact_lock(hashtext({literal}), 0) then
        return 0;  -- another pruner is at it
    end if;
    -- By age: what is kept for less than the usual time, and dead letters.
    with doomed as (
        delete from {schema}.finished f using (
            select k.id, k.completed_at from {schema}.finished k where k.retention < 604800 and k.prune_at <= v_now
                order by k.prune_at limit p_limit for update skip locked) x
            where f.id = x.id and f.completed_at = x.completed_at returning f.id, f.completed_at
    ) select array_agg(id), array_agg(completed_at) into v_ids, v_ended from doomed;
    v_pruned := v_pruned + coalesce({schema}.bury_ids_v1(v_ids, v_ended), 0);
    with doomed as (
        delete from {schema}.dead f where f.id in (
            select k.id from {schema}.dead k where k.prune_at <= v_now limit p_limit - v_pruned for update skip locked)
            returning f.id, f.completed_at
    ) select array_agg(id), array_agg(completed_at) into v_ids, v_ended from doomed;
    v_pruned := v_pruned + coalesce({schema}.bury_ids_v1(v_ids, v_ended), 0);

    -- By count. DEAD counts apart from the others.
    foreach v_table in array array['finished', 'dead'] loop
        for v_queue in execute replace($q$
            with recursive hop(queue) as (
                (select f.queue from {schema}.%1 f order by f.queue limit 1)
                union all
                select (select f.queue from {schema}.%1 f where f.queue > h.queue order by f.queue limit 1)
                    from hop h where h.queue is not null
            ) select queue from hop where queue is not null $q$, '%1', v_table)
        loop
            exit when v_pruned >= p_limit;
            select coalesce((select k.max_finished from {schema}.queue k where k.name = v_queue), p_max) into v_limit;
            execute replace($q$
                select x.completed_at, x.seq from (
                    (select f.completed_at, f.seq from {schema}.%1 f where f.queue = $1 and f.state = 10 order by f.completed_at desc, f.seq desc limit $2 + 1)
                    union all
                    (select f.completed_at, f.seq from {schema}.%1 f where f.queue = $1 and f.state = 11 order by f.completed_at desc, f.seq desc limit $2 + 1)
                    union all
                    (select f.completed_at, f.seq from {schema}.%1 f where f.queue = $1 and f.state = 12 order by f.completed_at desc, f.seq desc limit $2 + 1)
                    union all
                    (select f.completed_at, f.seq from {schema}.%1 f where f.queue = $1 and f.state = 13 order by f.completed_at desc, f.seq desc limit $2 + 1)
                    union all
                    (select f.completed_at, f.seq from {schema}.%1 f where f.queue = $1 and f.state = 14 order by f.completed_at desc, f.seq desc limit $2 + 1)
                ) x order by x.completed_at desc, x.seq desc offset $2 limit 1 $q$, '%1', v_table)
                into v_cut, v_seq using v_queue, v_limit;
            continue when v_cut is null;
            execute replace($q$
                with doomed as (
                    delete from {schema}.%1 f using (
                        select k.id, k.completed_at from {schema}.%1 k
                            where k.queue = $1 and (k.completed_at, k.seq) <= ($2, $3)
                            order by k.completed_at, k.seq limit $4 for update skip locked) x
                        where f.id = x.id and f.completed_at = x.completed_at returning f.id, f.completed_at
                ) select array_agg(id), array_agg(completed_at) from doomed $q$, '%1', v_table)
                into v_ids, v_ended using v_queue, v_cut, v_seq, p_limit - v_pruned;
            v_pruned := v_pruned + coalesce({schema}.bury_ids_v1(v_ids, v_ended), 0);
        end loop;
    end loop;

    delete from {schema}.tombstone where forget_at <= v_now;
    delete from {schema}.digest where forget_at <= v_now;
    delete from {schema}.event where at < v_now - interval '1 minute';
    delete from {schema}.worker where lapses_at < v_now;
    return v_pruned;
end $$;

-- Drop the oldest day once nothing in it is kept any more. Returns how many tasks went with it.
create function {schema}.drop_day_v1() returns bigint language plpgsql as $$
declare
    v_day date;
    v_name text;
    v_is_kept boolean;
    v_count bigint;
begin
    select min(to_date(right(c.relname, 8), 'YYYYMMDD')) into v_day
        from pg_catalog.pg_inherits i join pg_catalog.pg_class c on c.oid = i.inhrelid
        where i.inhparent = '{schema}.finished'::regclass;
    if v_day is null or (v_day + 1)::timestamp at time zone 'UTC' > clock_timestamp() - interval '10 minutes' then
        return 0;
    end if;
    v_name := 'finished_' || to_char(v_day, 'YYYYMMDD');
    execute format('select exists (select 1 from {schema}.%I where prune_at > clock_timestamp())', v_name) into v_is_kept;
    if v_is_kept or not pg_try_advisory_xact_lock(hashtext({literal}), 0) then
        return 0;
    end if;
    -- Whoever reads holds it up for this call only; the next one tries again.
    perform set_config('lock_timeout', '200ms', true);
    execute format('lock table {schema}.%I in access exclusive mode', v_name);
    execute format('select count(*) from {schema}.%I', v_name) into v_count;
    execute format('drop table {schema}.%I', v_name);
    return v_count;
end $$;

-- FAILED, DEAD, CANCELLED, EXPIRED → PENDING; the ids in their order.
create function {schema}.redrive_v1(p_ids uuid[]) returns boolean[] language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
declare
    v_answer boolean[] := '{}';
    v_id uuid;
    v_now timestamptz := clock_timestamp();
    r {schema}.finished;
begin
    foreach v_id in array p_ids loop
        delete from {schema}.dead d where d.id = v_id returning * into r;
        if not found then
            delete from {schema}.finished f where f.id = v_id and f.state <> 10 returning * into r;
        end if;
        if found then
            insert into {schema}.task (
                started_at, fence, settled_fence, dead_letter, state, priority, max_lost_leases, worker, id, created_at,
                ready_at, retention, queue, lane_group, tenant, name, checkpoint, history, logs, body)
            values (
                r.started_at, r.fence, r.fence, r.dead_letter, 0, r.priority, r.max_lost_leases, r.worker, r.id, r.created_at,
                v_now, r.retention, r.queue, r.lane_group, r.tenant, r.name, r.checkpoint, r.history, r.logs, r.body);
            v_answer := v_answer || true;
        else
            v_answer := v_answer || false;
        end if;
    end loop;
    return v_answer;
end $$;

-- Note that a worker lives; returns what it is told, each command once.
create function {schema}.report_v1(p_id text, p_info text, p_ttl float8) returns text[] language plpgsql as $$
declare
    v_commands text[];
begin
    select w.commands into v_commands from {schema}.worker w where w.id = p_id for update;
    insert into {schema}.worker as w (id, info, seen_at, lapses_at)
        values (p_id, p_info, clock_timestamp(), clock_timestamp() + p_ttl * interval '1 second')
    on conflict (id) do update set info = excluded.info, commands = '{}', seen_at = excluded.seen_at,
        lapses_at = excluded.lapses_at;
    return v_commands;
end $$;

-- Cancel up to p_limit waiting tasks of a queue. Returns how many.
create function {schema}.purge_v1(p_queue text, p_limit int) returns int language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
declare
    v_now timestamptz := clock_timestamp();
    v_ended int := 0;
    v_id uuid;
    t {schema}.task;
begin
    for v_id in
        (select k.id from {schema}.task k where k.queue = p_queue and k.front limit p_limit)
        union all
        (select k.id from {schema}.task k
            where k.queue = p_queue and k.state = 0 and not k.front and k.lease_until is null limit p_limit)
        union all
        (select k.id from {schema}.task k where k.queue = p_queue and k.due_at is not null limit p_limit)
    loop
        exit when v_ended >= p_limit;
        select * into t from {schema}.task k where k.id = v_id and k.lease_until is null for update skip locked;
        continue when not found;
        t.state := 13;
        perform {schema}.end_v1(t, 'purged', null, v_now);
        v_ended := v_ended + 1;
    end loop;
    return v_ended;
end $$;
