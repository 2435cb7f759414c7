-- oldest speaking: 5

-- Completion inside a transaction of the task's own (docs/decisions/0042-effects-exactly-once.md).

-- Complete a run with one parameter of text, for any driver: a JSON object with id, fence, worker, result (base64),
-- tells (whether somebody waits for the end), idle (milliseconds). Returns 0 applied, 1 repeated, 2 stale, 3 gone.
--
-- The task stays locked until the end of the transaction, and the reaper would wait there: a client that falls silent
-- is cut off after `idle`, which undoes all of it.
create function {schema}.complete_json_v1(p_run text) returns smallint language plpgsql
set plan_cache_mode = force_generic_plan as $$
declare
    x record;
    v_idle interval := current_setting('idle_in_transaction_session_timeout')::interval;
    v_code smallint;
begin
    select * into x from json_to_record(p_run::json)
        as r(id uuid, fence bigint, worker text, result text, tells boolean, idle int);
    v_code := {schema}.settle_one_v1(
        x.id, x.fence, x.worker, 0::smallint, null, decode(x.result, 'base64'), '', null, clock_timestamp());
    if v_code <> 0 then
        return v_code;
    end if;
    if x.tells then
        perform pg_notify({literal}, 'f:' || x.id);
    end if;
    if v_idle = interval '0' or v_idle > x.idle * interval '1 millisecond' then
        perform set_config('idle_in_transaction_session_timeout', x.idle::text, true);
    end if;
    return 0;
end $$;

-- Whether a run is settled: null while somebody holds its task, as the transaction that completes it does. A task that
-- is gone has ended.
create function {schema}.is_settled_v1(p_id uuid, p_fence bigint, p_worker text) returns boolean language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
declare
    v_answer boolean;
begin
    select t.settled_fence = p_fence and t.worker = p_worker into v_answer
        from {schema}.task t where t.id = p_id for update skip locked;
    if found then
        return v_answer;
    end if;
    perform 1 from {schema}.task t where t.id = p_id;
    if found then
        return null;
    end if;
    select r.settled_fence = p_fence and r.worker = p_worker into v_answer
        from {schema}.record r where r.id = p_id limit 1;
    return coalesce(v_answer, true);
end $$;

-- As extend_v1, but waiting for nobody: of one worker's leases none lapses because another of its tasks is locked by
-- the transaction that completes it. A run whose task somebody holds keeps its lease as it is, and counts as kept if it
-- was the newest before; that is only a hint, for the fence decides.
create function {schema}.extend_v2(
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
    -- Read after the update: what is not there any more, or is another run's, is lost; the rest was only locked.
    p_lost := array(
        select u.id::text from unnest(p_ids, p_fences, p_workers) u(id, fence, worker)
            where u.id <> all(coalesce(v_kept, '{}')) and not exists (
                select 1 from {schema}.task t
                    where t.id = u.id and t.fence = u.fence and t.worker = u.worker and t.lease_until is not null));
end $$;
