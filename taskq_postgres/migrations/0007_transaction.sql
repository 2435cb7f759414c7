-- oldest speaking: 7

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
    v_now timestamptz := clock_timestamp();
begin
    select * into x from json_to_record(p_run::json)
        as r(id uuid, fence bigint, worker text, result text, tells boolean, idle int);
    v_code := {schema}.settle_one_v1(
        x.id, x.fence, x.worker, 0::smallint, null, decode(x.result, 'base64'), '', null, v_now);
    if v_code = 10 then
        perform {schema}.concerned_v1(array[x.id], v_now);
    elsif v_code <> 0 then
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
