-- oldest speaking: 7

-- The periodic duties: bounded, idempotent, and passing over rows that somebody holds; only the
-- reaper waits for the tasks that it takes away. Behind them what an operator and a worker's report ask for.

-- One tick of the reaper. It looks only at claims of which a lease may have run out.
create function {schema}.reap_v1(
    p_limit int, p_renewal float8, out p_requeued int, out p_buried int, out p_cancelled int, out p_is_holding boolean,
    out p_ended uuid[], out p_uncounted text[]
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
    v_concerns boolean;
    v_concern_any boolean := false;
    t {schema}.task;
begin
    p_requeued := 0; p_buried := 0; p_cancelled := 0; p_is_holding := false; p_ended := '{}';
    -- Also what looks full, for those who enqueue in transactions of their own, and cannot ask.
    p_uncounted := array(
        select d.queue from {schema}.depth d left join {schema}.queue k on k.name = d.queue,
                lateral (select coalesce(k.max_size, {max_size})) l(most)
            where (d.wanted_since is not null or d.waiting >= l.most) and {schema}.is_stale_v1(d, l.most)
            order by d.wanted_since);
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
    -- Who holds all its tasks waits for all their gates, in the order of the names.
    v_ids := array(select k.id from {schema}.task k
        where k.id = any(v_ids) and k.claim_no = any(v_claims) and k.lease_until <= v_now
        order by k.id limit p_limit for update skip locked);
    perform 1 from {schema}.gate k where k.name = any({schema}.gate_names_v1(array(
        select x.gates from {schema}.task x where x.id = any(v_ids) and x.gates is not null))) order by k.name for update;
    for t in select * from {schema}.task k where k.id = any(v_ids) order by k.id loop
        select k.p_state, k.p_concerns into v_state, v_concerns from {schema}.lose_v1(t, 'lease lost', null, v_now) k;
        v_concern_any := v_concern_any or v_concerns;
        p_requeued := p_requeued + (v_state = 0)::int;
        p_buried := p_buried + (v_state in (11, 12))::int;
        p_cancelled := p_cancelled + (v_state = 13)::int;
        if v_state <> 0 then
            p_ended := p_ended || t.id;
        end if;
    end loop;
    if v_concern_any then
        perform {schema}.concerned_v1(p_ended, v_now);
    end if;
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
            update {schema}.claim c set ids = '{}', lapses_at = v_now + interval '{tombstone} seconds'
                where c.worker = v_claim.worker and c.no = v_claim.no;
        end if;
    end loop;
end $$;

-- End waiting tasks whose time to live is over. Returns their ids.
create function {schema}.expire_v1(p_limit int) returns uuid[] language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off as $$
declare
    v_now timestamptz := clock_timestamp();
    v_ended uuid[] := '{}';
    v_concerns boolean := false;
    t {schema}.task;
begin
    for t in select * from {schema}.task k where k.expires_at <= v_now and k.lease_until is null
        order by k.expires_at limit p_limit for update skip locked
    loop
        t.state := 14;
        v_concerns := {schema}.end_v1(t, '', null, v_now) or v_concerns;
        v_ended := v_ended || t.id;
    end loop;
    if v_concerns then
        perform {schema}.concerned_v1(v_ended, v_now);
    end if;
    return v_ended;
end $$;

-- Remember ids whose task ended less than ten minutes ago.
create function {schema}.bury_ids_v1(p_ids uuid[], p_ended timestamptz[]) returns int language sql as $$
    insert into {schema}.tombstone (id, forget_at)
        select u.id, clock_timestamp() + interval '{tombstone} seconds' from unnest(p_ids, p_ended) u(id, ended)
        order by u.id
    on conflict (id) do update set forget_at = excluded.forget_at;
    select cardinality(p_ids);
$$;

-- Have the places from which on queues are pruned looked for anew, and let nobody prune until this transaction ends.
create function {schema}.drop_cuts_v1() returns void language sql as $$
    select pg_advisory_xact_lock_shared(hashtext({literal}), 0);
    delete from {schema}.cut;
$$;

-- Forget up to p_limit finished tasks by age and by count (p_max: of a queue that says nothing else).
create function {schema}.prune_v1(p_limit int, p_max bigint) returns int language plpgsql as $$
declare
    v_now timestamptz := clock_timestamp();
    v_table text;
    v_pruned int := 0;
    v_queue text;
    v_limit bigint;
    v_known {schema}.cut;
    v_cut timestamptz;
    v_seq bigint;
    v_ids uuid[];
    v_ended timestamptz[];
begin
    if not pg_try_advisory_xact_lock(hashtext({literal}), 0) then
        return 0;  -- another pruner is at it
    end if;
    -- By age: what is kept for less than the usual time, and dead letters.
    with old as materialized (
        select k.id, k.completed_at from {schema}.finished k
            where k.retention < {usual_retention} and k.prune_at <= v_now order by k.prune_at limit p_limit
            for update skip locked
    ), doomed as (
        delete from {schema}.finished f using old x
            where f.id = x.id and f.completed_at = x.completed_at returning f.id, f.completed_at
    ) select array_agg(id), array_agg(completed_at) into v_ids, v_ended from doomed;
    v_pruned := v_pruned + coalesce({schema}.bury_ids_v1(v_ids, v_ended), 0);
    with doomed as (
        delete from {schema}.dead f where f.id = any(array(
            select k.id from {schema}.dead k where k.prune_at <= v_now
                order by k.prune_at limit p_limit - v_pruned for update skip locked))
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
            delete from {schema}.cut c where c.kept_in = v_table and c.queue = v_queue returning c.* into v_known;
            if v_known.max_finished = v_limit and v_now - v_known.made_at < interval '10 seconds' then
                v_cut := v_known.completed_at;
                v_seq := v_known.seq;
            else
                v_known.made_at := v_now;
                execute replace($q$
                    select x.completed_at, x.seq from unnest('{10,11,12,13,14}'::smallint[]) s(state) cross join lateral (
                        select f.completed_at, f.seq from {schema}.%1 f where f.queue = $1 and f.state = s.state
                            order by f.completed_at desc, f.seq desc limit $2 + 1) x
                        order by x.completed_at desc, x.seq desc offset $2 limit 1 $q$, '%1', v_table)
                    into v_cut, v_seq using v_queue, v_limit;
                continue when v_cut is null;
            end if;
            execute replace($q$
                with old as materialized (
                    select k.id, k.completed_at from {schema}.%1 k
                        where k.queue = $1 and (k.completed_at, k.seq) <= ($2, $3)
                        order by k.completed_at, k.seq limit $4 for update skip locked
                ), doomed as (
                    delete from {schema}.%1 f using old x
                        where f.id = x.id and f.completed_at = x.completed_at returning f.id, f.completed_at
                ) select array_agg(id), array_agg(completed_at) from doomed $q$, '%1', v_table)
                into v_ids, v_ended using v_queue, v_cut, v_seq, p_limit - v_pruned;
            v_pruned := v_pruned + coalesce({schema}.bury_ids_v1(v_ids, v_ended), 0);
            if v_pruned >= p_limit then  -- there is more: to find the place takes a walk along all that is kept
                insert into {schema}.cut values (v_table, v_queue, v_cut, v_seq, v_limit, v_known.made_at);
            end if;
        end loop;
    end loop;

    return v_pruned;
end $$;

-- Forget what is remembered for a while, up to p_limit of each kind. Returns how many of the kind of which most went.
create function {schema}.forget_v1(p_limit int) returns int language plpgsql as $$
declare
    v_now timestamptz := clock_timestamp();
    v_most int := 0;
    v_count int;
    v_gates text[];
begin
    delete from {schema}.tombstone k where k.id = any(array(select x.id from {schema}.tombstone x
        where x.forget_at <= v_now order by x.forget_at limit p_limit for update skip locked));
    get diagnostics v_count = row_count;
    v_most := greatest(v_most, v_count);
    delete from {schema}.digest k where k.id = any(array(select x.id from {schema}.digest x
        where x.forget_at <= v_now order by x.forget_at limit p_limit for update skip locked));
    get diagnostics v_count = row_count;
    v_most := greatest(v_most, v_count);
    v_gates := array(select x.name from {schema}.gate x
        where x.forget_at <= v_now and not exists (select 1 from {schema}.room r where r.gate = x.name)
            and not exists (select 1 from {schema}.holder h where h.gate = x.name)
        order by x.forget_at limit p_limit for update skip locked);
    -- Who was at a gate until now may have left a holder there, or somebody who waits.
    delete from {schema}.gate x where x.name = any(v_gates) and x.forget_at <= v_now
        and not exists (select 1 from {schema}.room r where r.gate = x.name)
        and not exists (select 1 from {schema}.holder h where h.gate = x.name);
    get diagnostics v_count = row_count;
    v_most := greatest(v_most, v_count);
    delete from {schema}.unique_key k where k.key = any(array(select x.key from {schema}.unique_key x
        where x.free_at <= v_now order by x.free_at limit p_limit for update skip locked));
    get diagnostics v_count = row_count;
    v_most := greatest(v_most, v_count);
    delete from {schema}.answer k where k.token = any(array(select x.token from {schema}.answer x
        where x.forget_at <= v_now order by x.forget_at limit p_limit for update skip locked));
    get diagnostics v_count = row_count;
    v_most := greatest(v_most, v_count);
    delete from {schema}.event k where k.no = any(array(select x.no from {schema}.event x
        where x.at < v_now - interval '1 minute' order by x.no limit p_limit for update skip locked));
    get diagnostics v_count = row_count;
    v_most := greatest(v_most, v_count);
    v_most := greatest(v_most, {schema}.forget_flows_v1(p_limit), {schema}.forget_tags_v1(p_limit));
    delete from {schema}.worker k where k.id = any(array(select x.id from {schema}.worker x
        where x.lapses_at < v_now limit p_limit for update skip locked));
    get diagnostics v_count = row_count;
    return greatest(v_most, v_count);
end $$;

-- Drop the oldest day of which nothing is kept any more. Returns how many tasks went with it (a million and more are
-- not counted).
create function {schema}.drop_day_v1() returns bigint language plpgsql as $$
declare
    v_name text;
    v_is_kept boolean;
    v_count bigint;
begin
    -- Younger days hold tasks that are kept for the usual time, or are empty.
    for v_name in select c.relname from pg_catalog.pg_inherits i join pg_catalog.pg_class c on c.oid = i.inhrelid
        where i.inhparent = '{schema}.finished'::regclass and c.relname < 'finished_' || to_char(
            (clock_timestamp() - interval '{usual_retention} seconds') at time zone 'UTC', 'YYYYMMDD')
        order by c.relname
    loop
        v_is_kept := {schema}.is_day_kept_v1(v_name);
        exit when not v_is_kept;
    end loop;
    -- While somebody reads the day for long, all others would wait here behind us.
    if v_is_kept is distinct from false or exists (
        select 1 from pg_catalog.pg_locks l join pg_catalog.pg_stat_activity a on a.pid = l.pid
            where l.relation = format('{schema}.%I', v_name)::regclass
                and a.xact_start < clock_timestamp() - interval '1 second')
        or not pg_try_advisory_xact_lock(hashtext({literal}), 0)
    then
        return 0;
    end if;
    execute format('select count(*) from (select 1 from {schema}.%I limit 1000000) k', v_name) into v_count;
    -- The whole table first, as everybody who reads it does. Whoever holds it holds us up for this call only.
    perform set_config('lock_timeout', '200ms', true);
    lock table only {schema}.finished in access exclusive mode;
    if {schema}.is_day_kept_v1(v_name) then
        return 0;
    end if;
    execute format('drop table {schema}.%I', v_name);
    perform {schema}.dropped_v1(to_date(right(v_name, 8), 'YYYYMMDD'));
    insert into {schema}.dropped_day values (to_date(right(v_name, 8), 'YYYYMMDD')) on conflict do nothing;
    return v_count;
end $$;

-- Whether a day holds a task that is kept for longer than usual, and still is.
create function {schema}.is_day_kept_v1(p_name text) returns boolean language plpgsql as $$
declare
    v_is_kept boolean;
begin
    execute format('select exists (select 1 from {schema}.%I '
        'where retention > {usual_retention} and prune_at > clock_timestamp())', p_name) into v_is_kept;
    return v_is_kept;
end $$;

-- FAILED, DEAD, CANCELLED, EXPIRED → PENDING; the ids in their order; p_queue: where they go, null: to their own queues.
-- Returns for each 'moved', 'not final', or the id of the task that holds its unique key.
create function {schema}.redrive_v1(p_ids uuid[], p_queue text, p_token uuid) returns text[] language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
declare
    v_known text[] := {schema}.answered_v1(p_token);
    v_answer text[];
    v_now timestamptz := clock_timestamp();
    v_holder uuid;
    v_taken jsonb := '{}';  -- key → id that takes it in this call
    v_held jsonb := '{}';   -- id → the task that holds its key
    v_ended uuid[];
    v_is_related boolean;
    v_flows uuid[];
    v_states smallint[];
    r {schema}.finished;
begin
    if v_known is not null then
        return v_known;
    end if;
    perform {schema}.drop_cuts_v1();
    perform 1 from {schema}.dead d where d.id = any(p_ids) order by d.id for update;
    perform 1 from {schema}.finished f where f.id = any(p_ids) and f.state <> 10 order by f.id for update;
    v_ended := array(select d.id from {schema}.dead d where d.id = any(p_ids)
        union all select f.id from {schema}.finished f where f.id = any(p_ids) and f.state <> 10);
    -- In the order of the keys, as everybody who waits for one does.
    for r in select * from (
            select * from {schema}.dead d where d.id = any(v_ended)
            union all select * from {schema}.finished f where f.id = any(v_ended) and f.state <> 10) x
        where x.unique_until <> 'ttl' order by x.unique_key, x.id
    loop
        v_holder := coalesce((v_taken ->> r.unique_key)::uuid, {schema}.take_key_v1(
            r.unique_key, r.id, r.unique_until, r.unique_ttl, v_now));
        if v_holder is null then
            v_taken := v_taken || jsonb_build_object(r.unique_key, r.id);
        else
            v_held := v_held || jsonb_build_object(r.id, v_holder);
        end if;
    end loop;
    v_ended := array(select e.id from unnest(v_ended) e (id) where not v_held ? e.id::text);
    with d as (delete from {schema}.dead k where k.id = any(v_ended) returning k.*),
        f as (delete from {schema}.finished k where k.id = any(v_ended) and k.state <> 10 returning k.*),
        moved as (select * from d union all select * from f),
        place as (select w.id, min(w.place) as place from unnest(p_ids) with ordinality w (id, place) group by w.id),
        task as (
            insert into {schema}.task (
                started_at, fence, settled_fence, dead_letter, state, priority, max_lost_leases, worker, id,
                created_at, ready_at, retention, queue, lane_group, tenant, name, checkpoint, history, logs, gates,
                unique_key, unique_until, unique_ttl, longest_wait, parents, flow, body)
            select
                m.started_at, m.fence, m.fence, m.dead_letter, case when m.parents is null then 0 else 3 end,
                m.priority, m.max_lost_leases, m.worker, m.id, m.created_at, v_now, m.retention,
                coalesce(p_queue, m.queue), m.lane_group, m.tenant, m.name, m.checkpoint, m.history, m.logs, m.gates,
                m.unique_key, m.unique_until, m.unique_ttl, m.longest_wait, m.parents, m.flow, m.body
            from moved m join place p on p.id = m.id order by p.place)
    select coalesce(array_agg(m.id), '{}'), coalesce(bool_or(m.parents is not null), false),
            coalesce(array_agg(m.flow) filter (where m.flow is not null), '{}'),
            coalesce(array_agg(m.state) filter (where m.flow is not null), '{}')
        into v_ended, v_is_related, v_flows, v_states from moved m;
    -- An id that is named twice is moved once.
    v_answer := array(
        select case when m.id is not null and row_number() over (partition by w.id order by w.place) = 1 then 'moved'
                else coalesce(v_held ->> w.id::text, 'not final') end
            from unnest(p_ids) with ordinality w (id, place) left join unnest(v_ended) m (id) on m.id = w.id
            order by w.place);
    if v_is_related then
        perform {schema}.bind_v1(p_ids, true, v_now, '{}');
    end if;
    perform {schema}.count_back_v1(v_flows, v_states);
    if 'moved' = any(v_answer) then
        perform {schema}.remember_v1(p_token, v_answer);
    end if;
    return v_answer;
end $$;

-- Forget tasks that have ended; returns how many.
create function {schema}.discard_v1(p_ids uuid[], p_token uuid) returns int language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
declare
    v_known text[] := {schema}.answered_v1(p_token);
    v_ids uuid[];
begin
    if v_known is not null then
        return v_known[1];
    end if;
    perform {schema}.drop_cuts_v1();
    with d as (delete from {schema}.dead k where k.id = any(p_ids) returning k.id),
        f as (delete from {schema}.finished k where k.id = any(p_ids) returning k.id)
    select array_agg(x.id) into v_ids from (select id from d union all select id from f) x;
    if v_ids is null then
        return 0;
    end if;
    perform {schema}.bury_ids_v1(v_ids, array_fill(clock_timestamp(), array[cardinality(v_ids)]));
    perform {schema}.remember_v1(p_token, array[cardinality(v_ids)::text]);
    return cardinality(v_ids);
end $$;

-- Note that a worker lives; returns what it is told, each command once.
create function {schema}.report_v1(p_id text, p_info text, p_ttl float8, p_token uuid) returns text[]
language plpgsql as $$
declare
    v_commands text[] := {schema}.answered_v1(p_token);
begin
    if v_commands is not null then
        return v_commands;
    end if;
    select w.commands into v_commands from {schema}.worker w where w.id = p_id for update;
    insert into {schema}.worker as w (id, info, seen_at, lapses_at)
        values (p_id, p_info, clock_timestamp(), clock_timestamp() + p_ttl * interval '1 second')
    on conflict (id) do update set info = excluded.info, commands = '{}', seen_at = excluded.seen_at,
        lapses_at = excluded.lapses_at;
    if v_commands <> '{}' then
        perform {schema}.remember_v1(p_token, v_commands);
    end if;
    return v_commands;
end $$;

-- Cancel up to p_limit waiting tasks of a queue. Returns their ids.
create function {schema}.purge_v1(p_queue text, p_limit int, p_token uuid) returns text[] language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
declare
    v_now timestamptz := clock_timestamp();
    v_ended text[] := {schema}.answered_v1(p_token);
    v_id uuid;
    v_concerns boolean := false;
    t {schema}.task;
begin
    if v_ended is not null then
        return v_ended;
    end if;
    v_ended := '{}';
    for v_id in
        (select k.id from {schema}.task k where k.queue = p_queue and k.front limit p_limit)
        union all
        (select k.id from {schema}.task k
            where k.queue = p_queue and k.state = 0 and not k.front and k.lease_until is null limit p_limit)
        union all
        (select k.id from {schema}.task k where k.queue = p_queue and k.due_at is not null limit p_limit)
        union all
        (select k.id from {schema}.task k where k.state = 5 and k.queue = p_queue limit p_limit)
        union all
        (select k.id from {schema}.room r join {schema}.task k
            on k.state = 4 and k.waits_at = r.gate and k.queue = r.queue where r.queue = p_queue limit p_limit)
    loop
        exit when cardinality(v_ended) >= p_limit;
        select * into t from {schema}.task k where k.id = v_id and k.lease_until is null for update skip locked;
        continue when not found;
        t.state := 13;
        v_concerns := {schema}.end_v1(t, 'purged', null, v_now) or v_concerns;
        v_ended := v_ended || t.id::text;
    end loop;
    if v_concerns then
        perform {schema}.concerned_v1(v_ended::uuid[], v_now);
    end if;
    if v_ended <> '{}' then
        perform {schema}.remember_v1(p_token, v_ended);
    end if;
    return v_ended;
end $$;
