-- oldest speaking: 5

-- Enqueue: arrays of one length, an element for each message. Returns null when each was created, else a letter each:
-- c created, d duplicate, x conflict, p stale parent.
--
-- p_since: the earliest instant (seconds since the epoch) at which a task with one of these ids can have ended, null
-- where the ids do not tell. p_digests: null where no message has one.
create function {schema}.enqueue_v1(
    p_ids text[], p_names text[], p_bodies bytea[], p_queues text[], p_priorities smallint[], p_groups text[],
    p_delays float8[], p_etas float8[], p_expires float8[], p_max_lost_leases int[], p_dead_letter boolean[],
    p_retentions float8[], p_tenants text[], p_digests text[], p_since float8,
    p_parent text, p_parent_fence bigint, p_parent_worker text, p_atomic boolean
) returns text language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
declare
    v_now timestamptz := clock_timestamp();
    v_since timestamptz := coalesce(to_timestamp(p_since), '-infinity');
    v_fresh uuid[];
    v_created uuid[];
    v_known uuid[];
begin
    if p_parent is not null then
        perform 1 from {schema}.task t
            where t.id = p_parent::uuid and t.fence = p_parent_fence and t.worker = p_parent_worker
                and t.settled_fence < t.fence and t.state = 0 for no key update;
        if not found then
            return repeat('p', cardinality(p_ids));
        end if;
    end if;

    if p_digests is not null then
        with fresh as (
            insert into {schema}.digest (id, digest, forget_at)
            select u.id, u.digest, v_now + interval '{digest_retention} seconds' from (
                    select distinct on (x.id) x.id, x.digest
                        from unnest(p_ids::uuid[], p_digests) with ordinality x(id, digest, ord) order by x.id, x.ord) u
                where u.digest <> '' order by u.id
            on conflict (id) do update set digest = excluded.digest, forget_at = excluded.forget_at
                where digest.forget_at <= v_now  -- it ran out, and is not pruned yet
            returning id
        ) select coalesce(array_agg(id), '{}') into v_fresh from fresh;
        if p_atomic and 'x' = any(string_to_array({schema}.enqueue_answer_v1(p_ids, p_digests, null), null)) then
            delete from {schema}.digest where id = any(v_fresh);
            return repeat('x', cardinality(p_ids));
        end if;
    end if;

    -- First the insert and then, in a later snapshot, the look for an end: the other way round a task that ends
    -- between the two would run again.
    with created as (
        insert into {schema}.task (
            id, name, body, queue, priority, lane_group, state, created_at, ready_at, due_at, expires_at,
            max_lost_leases, dead_letter, retention, tenant)
        select u.id, u.name, u.body, u.queue, u.priority, u.lane_group,
                case when w.due_at > v_now then 1 else 0 end, v_now,
                case when w.due_at > v_now then null else v_now end,
                case when w.due_at > v_now then w.due_at end,
                v_now + u.expires * interval '1 second', u.max_lost_leases, u.dead_letter, u.retention, u.tenant
            from unnest(p_ids::uuid[], p_names, p_bodies, p_queues, p_priorities, p_groups, p_delays, p_etas, p_expires,
                    p_max_lost_leases, p_dead_letter, p_retentions, p_tenants) with ordinality
                u(id, name, body, queue, priority, lane_group, delay, eta, expires, max_lost_leases, dead_letter,
                    retention, tenant, ord),
                lateral (select coalesce(to_timestamp(u.eta), v_now + u.delay * interval '1 second')) w(due_at)
            where p_digests is null or p_digests[u.ord] = '' or u.id = any(v_fresh)
            order by u.ord
        on conflict (id) do nothing returning id
    ) select coalesce(array_agg(id), '{}') into v_created from created;

    select array_agg(k.id) into v_known from (
        select f.id from {schema}.finished f
            where f.id = any(v_created) and f.completed_at between v_since and v_now + interval '1 hour'
        union all select d.id from {schema}.dead d where d.id = any(v_created)
        union all select s.id from {schema}.tombstone s where s.id = any(v_created) and s.forget_at > v_now) k;
    if v_known is null and cardinality(v_created) = cardinality(p_ids) then
        return null;
    end if;
    delete from {schema}.task where id = any(v_known);
    v_created := array(select c from unnest(v_created) c where v_known is null or c <> all(v_known));
    -- A duplicate must not leave its digest behind, which would make the next one a conflict.
    delete from {schema}.digest where id = any(v_fresh) and id <> all(v_created);
    return {schema}.enqueue_answer_v1(p_ids, p_digests, v_created);
end $$;

-- The letters of an answer; p_created: the ids that were created by this call.
create function {schema}.enqueue_answer_v1(p_ids text[], p_digests text[], p_created uuid[])
returns text language sql as $$
    select string_agg(case
            when k.digest <> u.digest and u.digest <> '' and k.forget_at > clock_timestamp() then 'x'
            when u.first and c.id is not null then 'c'
            else 'd' end, '' order by u.ord)
        from (select id::uuid, coalesce(p_digests[ord], '') as digest, ord,
                    row_number() over (partition by id order by ord) = 1 as first
                from unnest(p_ids) with ordinality i(id, ord)) u
            left join {schema}.digest k on k.id = u.id
            left join unnest(p_created) c(id) on c.id = u.id
$$;

-- The same with one parameter of text, for any driver inside the caller's own transaction: a JSON array of objects with
-- the fields of a message, its body in base64. The hint to the workers goes out with the caller's commit.
create function {schema}.enqueue_json_v1(p_messages text) returns text language sql as $$
    select pg_notify({literal}, 'q:' || k.queue)
        from (select distinct x.queue from json_to_recordset(p_messages::json) x(queue text)) k;
    select {schema}.enqueue_v1(
            array_agg(m.id order by m.ord), array_agg(m.name order by m.ord),
            array_agg(decode(m.body, 'base64') order by m.ord), array_agg(m.queue order by m.ord),
            array_agg(m.priority order by m.ord), array_agg(m.group order by m.ord), array_agg(m.delay order by m.ord),
            array_agg(m.eta order by m.ord), array_agg(m.expires order by m.ord),
            array_agg(m.max_lost_leases order by m.ord), array_agg(m.dead_letter order by m.ord),
            array_agg(m.retention order by m.ord), array_agg(m.tenant order by m.ord), array_agg(m.digest order by m.ord),
            null, null, null, null, false)
        from (select x.*, row_number() over () as ord from json_to_recordset(p_messages::json) x(
            id text, name text, body text, queue text, priority smallint, "group" text, delay float8, eta float8,
            expires float8, max_lost_leases int, dead_letter boolean, retention float8, tenant text, digest text)) m
$$;
