-- oldest speaking: 7

-- The end of a run, of a lease, of a task.

-- The history with one more attempt, at most HISTORY_LIMIT of them.
create function {schema}.noted_v1(t {schema}.task, p_outcome text, p_failure bytea, p_now timestamptz)
returns text[] language sql stable as $$
    select (case when cardinality(t.history) >= {history_limit}
            then t.history[cardinality(t.history) - {history_limit} + 2:] else t.history end)
        || json_build_object('fence', t.fence, 'attempt', t.attempt, 'worker', t.worker,
            'started', extract(epoch from t.started_at), 'ended', extract(epoch from p_now), 'outcome', p_outcome,
            'failure', convert_from(p_failure, 'UTF8'))::text
$$;

-- Let go of unique keys that these tasks hold. A key that somebody is at is being taken from its owner.
create function {schema}.give_keys_back_v1(p_keys text[], p_ids uuid[]) returns void language sql as $$
    delete from {schema}.unique_key k where k.key = any(array(
        select x.key from unnest(p_keys, p_ids) u(key, id) join {schema}.unique_key x on x.key = u.key and x.id = u.id
            order by x.key for update of x skip locked))
$$;

-- Move a task, as it is in `t`, to those that have ended; returns whether that concerns others: then whoever has called
-- it goes on with concerned_v1, once for all tasks that it ends.
create function {schema}.end_v1(t {schema}.task, p_reason text, p_result bytea, p_now timestamptz)
returns boolean language plpgsql set plan_cache_mode = force_generic_plan as $$
declare
    v_was_let_out boolean;
begin
    delete from {schema}.task where id = t.id returning state = 5 into v_was_let_out;
    if v_was_let_out then
        perform {schema}.make_way_v1(t.queue, t.gates, null, p_now);
    end if;
    if t.unique_key is not null and t.unique_until <> 'ttl' then
        perform {schema}.give_keys_back_v1(array[t.unique_key], array[t.id]);
    end if;
    t.lease_until := null;
    t.due_at := null;
    t.waits_at := null;
    t.front := false;
    t.cancel_requested := false;
    t.seq := nextval('{schema}.place');
    if t.state = 12 then
        insert into {schema}.dead
            select t.*, p_now, p_reason, p_result,
                p_now + least(greatest(t.retention, {dead_retention}), 1e10) * interval '1 second';
    else
        insert into {schema}.finished
            select t.*, p_now, p_reason, p_result, p_now + least(t.retention, 1e10) * interval '1 second';
    end if;
    return t.has_children is true or t.flow is not null;
end $$;

-- After a lost lease, `t` being locked and lost_leases not counted yet; returns the new state, and whether its end concerns
-- others (end_v1).
create function {schema}.lose_v1(
    t {schema}.task, p_outcome text, p_failure bytea, p_now timestamptz, out p_state smallint, out p_concerns boolean
) language plpgsql set plan_cache_mode = force_generic_plan as $$
begin
    p_concerns := false;
    if t.gates is not null then
        perform {schema}.leave_gates_v1(array[t.id], array[t.gates], array[t.started_at],
            array[case when p_outcome = 'crashed' then true end], array[false], p_now);
    end if;
    t.lost_leases := t.lost_leases + 1;
    p_failure := coalesce(p_failure, convert_to(
        json_build_object('type', 'LeaseLost', 'message', 'the worker stopped renewing its lease ('
            || t.lost_leases || ' times so far)')::text, 'UTF8'));
    t.history := {schema}.noted_v1(t, p_outcome, p_failure, p_now);
    t.attempt := t.attempt - 1;
    if p_outcome = 'crashed' then
        t.settled_fence := t.fence;
        t.failure := p_failure;
    end if;
    if t.cancel_requested then
        t.state := 13;
        p_concerns := {schema}.end_v1(t, t.cancel_reason, null, p_now);
    elsif t.lost_leases >= t.max_lost_leases then
        t.state := case when t.dead_letter then 12 else 11 end;
        t.failure := p_failure;
        p_concerns := {schema}.end_v1(t, '{poison}', null, p_now);
    else
        update {schema}.task k set lease_until = null, front = true, lost_leases = t.lost_leases, attempt = t.attempt,
                history = t.history, settled_fence = t.settled_fence, failure = t.failure
            where k.id = t.id;
        t.state := 0;
    end if;
    p_state := t.state;
end $$;

-- Settle one run. Kinds: 0 complete, 1 retry, 2 snooze, 3 release (p_result: limits that came late), 4 bury, 5 fail,
-- 6 cancel, 7 crash, 8 snooze because the far side said "too many requests".
-- Returns 0 applied, 1 repeated, 2 stale, 3 gone, 10 applied where the end of the task concerns others (end_v1).
create function {schema}.settle_one_v1(
    p_id uuid, p_fence bigint, p_worker text, p_kind smallint, p_delay float8, p_result bytea, p_reason text,
    p_failure bytea, p_now timestamptz
) returns smallint language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
declare
    t {schema}.task;
    r {schema}.record;
    v_is_late boolean;
    v_concerns boolean := false;
begin
    select * into t from {schema}.task k
        where k.id = p_id and k.fence = p_fence and k.worker = p_worker and k.settled_fence < p_fence
            and k.state in (0, 4, 5)
            and (k.lease_until is not null or p_kind <> 7)
        for update;
    if not found then
        select * into r from {schema}.record k where k.id = p_id limit 1;
        return case when r.id is null then 3 when r.settled_fence = p_fence and r.worker = p_worker then 1 else 2 end;
    end if;
    v_is_late := t.lease_until is null;
    if t.gates is not null and not v_is_late and p_kind <> 7 then
        perform {schema}.leave_gates_v1(array[t.id], array[t.gates], array[t.started_at],
            array[case when p_kind in (2, 3, 6, 8) then null else p_kind <> 0 end], array[p_kind = 8], p_now);
    end if;
    if p_kind = 8 then
        p_kind := 2;
    end if;
    if p_kind = 7 then
        v_concerns := (select k.p_concerns from {schema}.lose_v1(t, 'crashed', p_failure, p_now) k);
        return case when v_concerns then 10 else 0 end;
    end if;

    if v_is_late then
        t.attempt := t.attempt + 1;  -- the lost lease had given it back
    end if;
    if p_kind <> 0 then
        t.history := {schema}.noted_v1(t,
            (array['failed', 'snoozed', 'released', 'failed', 'failed', 'cancelled'])[p_kind], p_failure, p_now);
    end if;
    if p_kind in (2, 3) then
        t.attempt := t.attempt - 1;
    end if;
    t.settled_fence := t.fence;
    t.failure := coalesce(p_failure, t.failure);
    if t.cancel_requested and p_kind in (1, 2, 3) then
        t.state := 13;
        v_concerns := {schema}.end_v1(t, t.cancel_reason, null, p_now);
    elsif p_kind in (0, 4, 5, 6) then
        t.state := case p_kind when 0 then 10 when 4 then 12 when 5 then 11 else 13 end;
        -- A cancel without a reason of its own takes the one that it was requested with.
        v_concerns := {schema}.end_v1(t, coalesce(case p_kind when 6 then coalesce(nullif(p_reason, ''), t.cancel_reason)
            else p_reason end, ''), p_result, p_now);
    else
        update {schema}.task k set lease_until = null, attempt = t.attempt, settled_fence = t.settled_fence,
                failure = t.failure, history = t.history, front = p_kind = 3 and (t.front or not v_is_late),
                state = case p_kind when 1 then 2 when 2 then 1 else k.state end,
                waits_at = case p_kind when 3 then k.waits_at end,
                gates = case when p_kind = 3 and p_result <> '' then convert_from(p_result, 'UTF8') else k.gates end,
                due_at = case when p_kind = 3 then null else p_now + p_delay * interval '1 second' end
            where k.id = p_id;
        if p_kind <> 3 then
            perform {schema}.moved_v1(t.queue, 20 + t.priority, 3 - p_kind, 1);
        end if;
        if t.state = 5 and p_kind <> 3 then
            perform {schema}.make_way_v1(t.queue, t.gates, null, p_now);
        end if;
    end if;
    return case when v_concerns then 10 else 0 end;
end $$;

-- What completed tasks, those of p_ids at the places p_done, give back: gates and unique keys.
create function {schema}.settled_specials_v1(p_ids uuid[], p_done bigint[], p_now timestamptz) returns void
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
declare
    v_done uuid[] := array(select p_ids[d] from unnest(p_done) d);
begin
    perform {schema}.leave_gates_v1(array_agg(f.id), array_agg(f.gates), array_agg(f.started_at), array_agg(false),
            array_agg(false), p_now)
        from {schema}.finished f where f.id = any(v_done) and f.completed_at = p_now and f.gates is not null
        having count(*) > 0;
    perform {schema}.give_keys_back_v1(array_agg(f.unique_key), array_agg(f.id))
        from {schema}.finished f where f.id = any(v_done) and f.completed_at = p_now and f.unique_until <> 'ttl'
        having count(*) > 0;
end $$;

-- Settle runs, given in the order of their ids; p_through: claims of p_worker of which no task is held any more.
-- Returns null when each was applied, else a code each.
create function {schema}.settle_v1(
    p_ids uuid[], p_fences bigint[], p_workers text[], p_kinds smallint[], p_delays float8[], p_results bytea[],
    p_reasons text[], p_failures bytea[], p_worker text, p_through bigint[]
) returns smallint[] language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off
set enable_hashjoin = off set enable_mergejoin = off as $$
declare
    v_now timestamptz := clock_timestamp();
    v_done bigint[];
    v_answer smallint[];
    v_is_mixed boolean := 0 <> any(p_kinds);
    v_ord int;
    v_code smallint;
    v_is_special boolean;
    v_parents uuid[];
    v_flows uuid[];
    v_concerns boolean := false;
begin
    if p_through <> '{}' then
        delete from {schema}.claim c where c.worker = p_worker and c.no = any(p_through);
    end if;
    if v_is_mixed then
        -- The completions are applied first, which is not the order of the ids. And who holds all its tasks waits for
        -- all their gates, in the order of the names.
        perform 1 from {schema}.task t where t.id = any(p_ids) order by t.id for update;
        perform 1 from {schema}.gate k where k.name = any({schema}.gate_names_v1(array(
            select t.gates from {schema}.task t where t.id = any(p_ids) and t.gates is not null))) order by k.name for update;
    end if;
    -- The many: completions of what runs.
    with u as materialized (
        select * from unnest(p_ids, p_fences, p_workers, p_kinds, p_results) with ordinality
            x(id, fence, worker, kind, result, ord) where x.kind = 0
    ), x as (
        delete from {schema}.task t using u
            where t.id = u.id and t.fence = u.fence and t.worker = u.worker and t.lease_until is not null
            returning t.*, u.result, u.ord
    ), d as (
        insert into {schema}.finished (
            seq, started_at, claim_no, fence, settled_fence, attempt, dead_letter, state, priority, lost_leases,
            max_lost_leases, worker, id, created_at, ready_at, expires_at, retention, queue, lane_group, tenant, name,
            cancel_reason, failure, progress, checkpoint, history, logs, gates, unique_key, unique_until, unique_ttl,
            longest_wait, parents, has_children, flow, tags, body, completed_at, reason, result, prune_at)
        select nextval('{schema}.place'), started_at, claim_no, fence, fence, attempt, dead_letter, 10, priority,
            lost_leases, max_lost_leases, worker, id, created_at, ready_at, expires_at, retention, queue, lane_group,
            tenant, name, cancel_reason, failure, progress, checkpoint, history, logs, gates, unique_key, unique_until,
            unique_ttl, longest_wait, parents, has_children, flow, tags, body, v_now, '', result, v_now + least(retention, 1e10) * interval '1 second'
        from x
    ) select array_agg(x.ord), bool_or(x.gates is not null) or bool_or(x.unique_until <> 'ttl'),
            array_agg(x.id) filter (where x.has_children), array_agg(x.flow) filter (where x.flow is not null)
        into v_done, v_is_special, v_parents, v_flows from x;
    if v_is_special then
        perform {schema}.settled_specials_v1(p_ids, v_done, v_now);
    end if;

    if v_done is null or cardinality(v_done) < cardinality(p_ids) then
        if not v_is_mixed then
            -- Late ones, out of the order of the ids: whom to wait for may wait for what is held here already, so that
            -- the client shall rather say it again.
            perform 1 from {schema}.task t where t.id = any(p_ids) order by t.id for update nowait;
        end if;
        v_answer := array_fill(0::smallint, array[cardinality(p_ids)]);
        for v_ord in
            select o from generate_subscripts(p_ids, 1) o where v_done is null or o <> all(v_done) order by o
        loop
            v_code := {schema}.settle_one_v1(p_ids[v_ord], p_fences[v_ord], p_workers[v_ord], p_kinds[v_ord],
                p_delays[v_ord], p_results[v_ord], p_reasons[v_ord], p_failures[v_ord], v_now);
            v_concerns := v_concerns or v_code = 10;
            v_answer[v_ord] := v_code % 10;
        end loop;
    end if;
    if v_concerns then
        perform {schema}.concerned_v1(p_ids, v_now);
    elsif v_parents is not null or v_flows is not null then
        -- The many have said who they are, so that they need not be looked up among those that have ended.
        perform {schema}.tell_v1(
            coalesce(v_parents, '{}'), array_fill(10::smallint, array[coalesce(cardinality(v_parents), 0)]),
            array_fill(10::smallint, array[coalesce(cardinality(v_flows), 0)]), coalesce(v_flows, '{}'), v_now);
    end if;
    return v_answer;
end $$;

-- Extend leases of runs, given in the order of their ids: those that are lost, and those whose cancel is wanted.
--
-- It waits for nobody: of one worker's leases none lapses because another of its tasks is locked by the transaction that
-- completes it. A run whose task somebody holds keeps its lease as it is, and counts as kept if it was the newest
-- before; that is only a hint, for the fence decides.
create function {schema}.extend_v1(
    p_ids uuid[], p_fences bigint[], p_workers text[], p_lease float8, out p_lost text[], out p_wanted text[]
) language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off
set enable_hashjoin = off set enable_mergejoin = off as $$
declare
    v_until timestamptz := clock_timestamp() + p_lease * interval '1 second';
    v_kept uuid[];
    v_claims bigint[];
begin
    perform set_config('synchronous_commit', 'off', true);
    -- Where the new lease is shorter than the old one the reaper must look earlier; but a stale run has no say in how
    -- long a claim is remembered, nor has anybody in that of an emptied one, which only waits for its request to be
    -- said again.
    select array_agg(distinct t.claim_no) into v_claims
        from unnest(p_ids, p_fences, p_workers) u(id, fence, worker) join {schema}.task t
            on t.id = u.id and t.fence = u.fence and t.worker = u.worker and t.lease_until is not null;
    update {schema}.claim c set lapses_at = v_until
        where c.worker = any(p_workers) and c.lapses_at > v_until and c.no = any(v_claims) and c.ids <> '{}';
    with free as materialized (
        select t.id from unnest(p_ids, p_fences, p_workers) u(id, fence, worker)
            join {schema}.task t
                on t.id = u.id and t.fence = u.fence and t.worker = u.worker and t.lease_until is not null
            order by t.id for no key update of t skip locked
    ), kept as (
        update {schema}.task t set lease_until = v_until from free f where t.id = f.id
            returning t.id, t.cancel_requested
    ) select array_agg(id), array_agg(id::text) filter (where cancel_requested) into v_kept, p_wanted from kept;
    if coalesce(cardinality(v_kept), 0) = cardinality(p_ids) then
        p_lost := '{}';
        return;
    end if;
    -- Read after the update: what is not there any more, or is another run's, is lost; the rest was only locked, perhaps
    -- by who ends it just now, and is told what it would have been told a moment earlier.
    select coalesce(array_agg(u.id::text) filter (where t.id is null), '{}'),
            p_wanted || array_agg(u.id::text) filter (where t.cancel_requested)
        into p_lost, p_wanted
        from unnest(p_ids, p_fences, p_workers) u(id, fence, worker) left join {schema}.task t
            on t.id = u.id and t.fence = u.fence and t.worker = u.worker and t.lease_until is not null
        where u.id <> all(coalesce(v_kept, '{}'));
end $$;

-- What was answered to the call with this token, null when it is said for the first time. Waits for its first saying,
-- which may be under way still.
create function {schema}.answered_v1(p_token uuid) returns text[] language plpgsql set enable_seqscan = off as $$
begin
    perform pg_advisory_xact_lock(hashtextextended({literal} || p_token, 1));
    return (select a.answer from {schema}.answer a where a.token = p_token);
end $$;

-- Remember what is answered to a call that has changed something, in the same transaction.
create function {schema}.remember_v1(p_token uuid, p_answer text[]) returns void language sql as $$
    insert into {schema}.answer (token, answer, forget_at)
    values (p_token, p_answer, clock_timestamp() + interval '{tombstone} seconds')
$$;

-- Cancel tasks, given in the order of their ids. Returns 0 cancelled, 1 requested, 2 final, 3 unknown, each.
create function {schema}.cancel_v1(p_ids uuid[], p_reason text, p_token uuid) returns smallint[] language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
declare
    v_now timestamptz := clock_timestamp();
    v_known text[] := {schema}.answered_v1(p_token);
    v_answer smallint[] := '{}';
    v_id uuid;
    v_state smallint;
    v_concerns boolean := false;
    t {schema}.task;
begin
    if v_known is not null then
        return v_known;
    end if;
    -- Before any room; those that are blocked last, as wherever one is locked.
    perform 1 from {schema}.task k where k.id = any(p_ids) and k.state <> 3 order by k.id for update;
    perform 1 from {schema}.task k where k.id = any(p_ids) and k.state = 3 order by k.id for update;
    foreach v_id in array p_ids loop
        loop
            select * into t from {schema}.task k where k.id = v_id for update;
            exit when found;
            v_state := (select r.state from {schema}.record r where r.id = v_id limit 1);
            exit when v_state is null or v_state >= 10;  -- else it came, or was redriven, between the two looks
        end loop;
        if t.id is null then
            v_answer := v_answer || case when v_state is null then 3 else 2 end::smallint;
        elsif t.lease_until is null then
            t.state := 13;
            v_concerns := {schema}.end_v1(t, p_reason, null, v_now) or v_concerns;
            v_answer := v_answer || 0::smallint;
        else
            update {schema}.task set cancel_requested = true, cancel_reason = p_reason
                where id = v_id and not cancel_requested;
            v_answer := v_answer || 1::smallint;
        end if;
    end loop;
    if v_answer && '{0,1}' then
        perform {schema}.remember_v1(p_token, v_answer::text[]);
    end if;
    if v_concerns then
        perform {schema}.concerned_v1(p_ids, v_now);
    end if;
    return v_answer;
end $$;

-- Append lines to the log of a run, of which the last {log_limit} are kept. Returns whether the run is the newest.
create function {schema}.log_v1(p_lines text[], p_id uuid, p_fence bigint, p_worker text, p_token uuid)
returns boolean language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
begin
    if {schema}.answered_v1(p_token) is not null then
        return true;
    end if;
    update {schema}.task t
        set logs = (select array_agg(line order by ord) from (
            select line, ord from unnest(coalesce(t.logs, '{}') || p_lines) with ordinality x(line, ord)
            order by ord desc limit {log_limit}) kept)
        where t.id = p_id and t.fence = p_fence and t.worker = p_worker and t.settled_fence < t.fence
            and t.state in (0, 4, 5);
    if not found then
        return false;
    end if;
    perform {schema}.remember_v1(p_token, '{}');
    return true;
end $$;
