-- oldest speaking: 7

-- Enqueue: arrays of one length, an element for each message. Returns null when each was created, '' when that is so and
-- something is set for a queue, or one was counted, so that the next call shall look at them too, else a letter each:
-- c created, d duplicate, x conflict, p stale parent, f full, r replaced, n no parent, o flow over, q over quota; where there is more to
-- tell a line of JSON follows: {"owners": {place: id of the task that holds the unique key, or of the parent that is not
-- known}, "fills": {queue: [depth, limit]}}.
--
-- p_specials: null, or {place: [unique key, until, ttl, limits, longest wait, replaces, parents, flow, tags]} of messages
-- that have such.
-- p_since: the earliest instant (seconds since the epoch) at which a task with one of these ids can have ended, null
-- where the ids do not tell. p_digests: null where no message has one.
create function {schema}.enqueue_v1(
    p_ids text[], p_names text[], p_bodies bytea[], p_queues text[], p_priorities smallint[], p_groups text[],
    p_delays float8[], p_etas float8[], p_expires float8[], p_max_lost_leases int[], p_dead_letter boolean[],
    p_retentions float8[], p_tenants text[], p_digests text[], p_specials jsonb, p_since float8,
    p_parent text, p_parent_fence bigint, p_parent_worker text, p_atomic boolean, p_may_count boolean,
    p_looks boolean
) returns text language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
declare
    v_now timestamptz := clock_timestamp();
    v_since timestamptz := coalesce(to_timestamp(p_since), '-infinity');
    v_fresh uuid[];
    v_created uuid[];
    v_known uuid[];
    v_fills jsonb;          -- of queues that are full, or past their warning level
    v_told jsonb := '{}';   -- place → letter, or id of the holder of its unique key, of what is answered already
    v_skip int[] := '{}';   -- those places
    v_expires jsonb;        -- queue → seconds, of tasks that say nothing
    v_lifetime float8;
    v_queues text[] := p_queues[1:1];
    v_queue text;
    v_may_be_full boolean := false;
    v_is_set boolean := false;  -- something, for one of the queues
    v_is_over boolean := false;  -- a tenant, with one of them
begin
    if p_parent is not null then
        perform 1 from {schema}.task t
            where t.id = p_parent::uuid and t.fence = p_parent_fence and t.worker = p_parent_worker
                and t.settled_fence < t.fence and t.state in (0, 4, 5) for no key update;
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

    if p_specials is not null then
        v_told := {schema}.enqueue_specials_v1(p_ids, p_bodies, p_delays, p_digests, v_fresh, p_specials, v_now);
    end if;
    if p_specials is not null then
        v_told := v_told || {schema}.unrelated_v1(p_ids, p_specials, v_told, v_now);
        if p_atomic and exists (select 1 from jsonb_each_text(v_told) x where x.value = 'o' or x.value like 'n:%') then
            delete from {schema}.digest where id = any(v_fresh);
            perform {schema}.drop_keys_v1(p_ids, p_specials, '{}');
            return (select case x.value when 'o' then repeat('o', cardinality(p_ids)) else
                    repeat('n', cardinality(p_ids)) || e'\n' || json_build_object('owners', (
                        select json_object_agg(place, substr(x.value, 3)) from generate_subscripts(p_ids, 1) place)) end
                from jsonb_each_text(v_told) x where x.value = 'o' or x.value like 'n:%' order by x.key::int limit 1);
        end if;
    end if;
    -- What is known of the queues, in one look at each: of most there is nothing to tell, and room for long.
    if not p_looks then
        v_queues := '{}';
    elsif p_queues[1] <> any(p_queues) then
        v_queues := array(select distinct x from unnest(p_queues) x);
    end if;
    foreach v_queue in array v_queues loop
        select k.expires, v_may_be_full or coalesce(k.max_size, {max_size}) <= {counted_size}
                or coalesce(d.waiting, 0) + cardinality(p_queues)
                    >= coalesce(k.warn_at, {warn_at}) * coalesce(k.max_size, {max_size})
                or p_may_count and {schema}.wants_count_v1(d, coalesce(k.max_size, {max_size})),
                v_is_set or coalesce(k.max_size, k.warn_at, k.expires) is not null
            into v_lifetime, v_may_be_full, v_is_set
            from (select) one left join {schema}.queue k on k.name = v_queue
                left join {schema}.depth d on d.queue = v_queue;
        if v_lifetime is not null then
            v_expires := coalesce(v_expires, '{}') || jsonb_build_object(v_queue, v_lifetime);
        end if;
    end loop;
    if v_may_be_full then
        v_fills := {schema}.capacity_v1(p_queues, p_may_count);
    end if;
    if v_fills is not null then
        v_told := v_told || {schema}.refused_v1(p_ids, p_queues, p_digests, v_fresh, v_told, v_fills);
        if p_atomic and exists (select 1 from jsonb_each_text(v_told) x where x.value = 'f') then
            delete from {schema}.digest where id = any(v_fresh);
            perform {schema}.drop_keys_v1(p_ids, p_specials, '{}');
            return repeat('f', cardinality(p_ids)) || e'\n' || json_build_object('fills', v_fills);
        end if;
    end if;
    if exists (select 1 from {schema}.tenant) then
        v_told := v_told || {schema}.over_quota_v1(p_ids, p_bodies, p_groups, p_digests, v_fresh, v_told);
        v_is_over := exists (select 1 from jsonb_each_text(v_told) x where x.value = 'q');
        if p_atomic and v_is_over then
            delete from {schema}.digest where id = any(v_fresh);
            perform {schema}.drop_keys_v1(p_ids, p_specials, '{}');
            return repeat('q', cardinality(p_ids));
        end if;
    end if;
    -- Those that wait for one that has found no room find nobody to wait for.
    if p_specials is not null and (v_fills is not null or v_is_over) then
        v_told := v_told || {schema}.unrelated_v1(p_ids, p_specials, v_told, v_now);
    end if;
    if v_told <> '{}' then
        v_skip := array(select x::int from jsonb_object_keys(v_told) x);
    end if;

    -- First the insert and then, in a later snapshot, the look for an end: the other way round a task that ends
    -- between the two would run again.
    with created as (
        insert into {schema}.task (
            id, name, body, queue, priority, lane_group, state, created_at, ready_at, due_at, expires_at,
            max_lost_leases, dead_letter, retention, tenant, unique_key, unique_until, unique_ttl, gates, longest_wait,
            parents, flow, delay, eta, tags)
        select u.id, u.name, u.body, u.queue, u.priority, u.lane_group,
                case when s.terms ->> 6 is not null then 3 when w.due_at > v_now then 1 else 0 end, v_now,
                case when s.terms ->> 6 is not null or w.due_at > v_now then null else v_now end,
                case when s.terms ->> 6 is null and w.due_at > v_now then w.due_at end,
                v_now + case when v_expires is null then u.expires
                    else coalesce(u.expires, (v_expires ->> u.queue)::float8) end * interval '1 second',
                u.max_lost_leases, u.dead_letter, u.retention, u.tenant,
                s.terms ->> 0, s.terms ->> 1, (s.terms ->> 2)::float8, s.terms ->> 3, (s.terms ->> 4)::float8,
                s.terms ->> 6, (s.terms ->> 7)::uuid, case when s.terms ->> 6 is not null then u.delay end,
                case when s.terms ->> 6 is not null then to_timestamp(u.eta) end,
                case when s.terms ->> 8 is not null then array(select jsonb_array_elements_text(s.terms -> 8)) end
            from unnest(p_ids::uuid[], p_names, p_bodies, p_queues, p_priorities, p_groups, p_delays, p_etas, p_expires,
                    p_max_lost_leases, p_dead_letter, p_retentions, p_tenants) with ordinality
                u(id, name, body, queue, priority, lane_group, delay, eta, expires, max_lost_leases, dead_letter,
                    retention, tenant, ord),
                lateral (select coalesce(to_timestamp(u.eta), v_now + u.delay * interval '1 second')) w(due_at),
                lateral (select case when p_specials is not null then p_specials -> u.ord::text end) s(terms)
            where (p_digests is null or p_digests[u.ord] = '' or u.id = any(v_fresh)) and u.ord <> all(v_skip)
            order by u.ord
        on conflict (id) do nothing returning id
    ) select coalesce(array_agg(id), '{}') into v_created from created;

    select array_agg(k.id) into v_known from (
        select f.id from {schema}.finished f
            where f.id = any(v_created) and f.completed_at between v_since and v_now + interval '1 hour'
        union all select d.id from {schema}.dead d where d.id = any(v_created)
        union all select s.id from {schema}.tombstone s where s.id = any(v_created) and s.forget_at > v_now) k;
    if v_known is null and cardinality(v_created) = cardinality(p_ids) and v_fills is null then
        if p_specials is not null then
            perform {schema}.relate_v1(v_created, v_now);
        end if;
        return case when v_may_be_full or v_is_set then '' end;
    end if;
    delete from {schema}.task where id = any(v_known);
    v_created := array(select c from unnest(v_created) c where v_known is null or c <> all(v_known));
    -- A duplicate must not leave its digest behind, which would make the next one a conflict.
    delete from {schema}.digest where id = any(v_fresh) and id <> all(v_created);
    if p_specials is not null then
        perform {schema}.drop_keys_v1(p_ids, p_specials, v_created);
        perform {schema}.relate_v1(v_created, v_now);
    end if;
    return {schema}.with_more_v1({schema}.enqueue_answer_v1(p_ids, p_digests, v_created), v_told, v_fills, p_queues);
end $$;

-- What becomes of messages with a unique key, or that replace: place → letter, or the id of the task that holds the key.
-- Those that are not named are to be stored, and hold their keys.
create function {schema}.enqueue_specials_v1(
    p_ids text[], p_bodies bytea[], p_delays float8[], p_digests text[], p_fresh uuid[], p_specials jsonb,
    p_now timestamptz
) returns jsonb language plpgsql set enable_seqscan = off as $$
declare
    v_told jsonb := '{}';
    v_taken jsonb := '{}';  -- key → id that took it in this call
    v_holder uuid;
    s record;
begin
    -- In the order of the keys, as everybody who waits for one does; of one key in the order of the call.
    for s in select x.key as place, x.value ->> 0 as key, x.value as terms from jsonb_each(p_specials) x
        where x.value ->> 0 is not null order by 2, x.key::int
    loop
        if (s.terms ->> 5)::boolean then
            v_told := v_told || jsonb_build_object(s.place, case when {schema}.replace_v1(
                p_ids[s.place::int]::uuid, p_bodies[s.place::int], s.key, p_delays[s.place::int], p_now)
                then 'r' else 'd' end);
            continue;
        end if;
        -- What is known by its id is a duplicate of itself, whoever holds the key now.
        continue when p_digests[s.place::int] <> '' and p_ids[s.place::int]::uuid <> all(p_fresh)
            or exists (select 1 from {schema}.record r where r.id = p_ids[s.place::int]::uuid)
            or exists (select 1 from {schema}.tombstone x
                where x.id = p_ids[s.place::int]::uuid and x.forget_at > p_now);
        v_holder := coalesce((v_taken ->> s.key)::uuid, {schema}.take_key_v1(
            s.key, p_ids[s.place::int]::uuid, s.terms ->> 1, (s.terms ->> 2)::float8, p_now));
        if v_holder is null then
            v_taken := v_taken || jsonb_build_object(s.key, p_ids[s.place::int]);
        elsif v_holder <> p_ids[s.place::int]::uuid then
            v_told := v_told || jsonb_build_object(s.place, v_holder);
        end if;
    end loop;
    return v_told;
end $$;

-- Have a task hold a unique key; returns null, or the id of the task that holds it. It never locks the key of a task
-- that lives: who ends such a task waits for nobody's transaction.
create function {schema}.take_key_v1(p_key text, p_id uuid, p_until text, p_ttl float8, p_now timestamptz)
returns uuid language plpgsql set enable_seqscan = off as $$
declare
    k {schema}.unique_key;
    v_free_at timestamptz := p_now + p_ttl * interval '1 second';
begin
    loop
        insert into {schema}.unique_key (key, id, until, free_at) values (p_key, p_id, p_until, v_free_at)
            on conflict (key) do nothing;
        if found then
            return null;
        end if;
        select * into k from {schema}.unique_key x where x.key = p_key;
        continue when not found;
        if k.id = p_id then
            return null;
        elsif (k.free_at is null or k.free_at > p_now) and (
            exists (select 1 from {schema}.task t where t.id = k.id)
            or k.until = 'ttl' and exists (select 1 from {schema}.record r where r.id = k.id))
        then
            return k.id;
        end if;
        update {schema}.unique_key x set id = p_id, until = p_until, free_at = v_free_at
            where x.key = p_key and x.id = k.id;
        if found then
            return null;
        end if;
    end loop;
end $$;

-- Let go of keys of messages that were not stored after all, unless their task is there already.
create function {schema}.drop_keys_v1(p_ids text[], p_specials jsonb, p_created uuid[]) returns void language sql as $$
    delete from {schema}.unique_key k using jsonb_each(p_specials) x
        where k.key = x.value ->> 0 and k.id = p_ids[x.key::int]::uuid and k.id <> all(p_created)
            and not exists (select 1 from {schema}.task t where t.id = k.id)
            and not (k.until = 'ttl' and exists (select 1 from {schema}.record r where r.id = k.id))
$$;

-- Give the waiting holder of a key the arguments of a newer call; returns whether it was one.
create function {schema}.replace_v1(p_id uuid, p_body bytea, p_key text, p_delay float8, p_now timestamptz)
returns boolean language plpgsql set enable_seqscan = off as $$
declare
    v_was {schema}.task;
    v_is_replaced boolean;
begin
    if p_delay is not null then
        select * into v_was from {schema}.task t where t.id = p_id for update;
    end if;
    update {schema}.task t set body = p_body,
            state = case when p_delay is null or t.state = 3 then t.state else 1 end,
            front = t.front and p_delay is null,
            waits_at = case when p_delay is null then t.waits_at end,
            delay = case when p_delay is null or t.state <> 3 then t.delay else p_delay end,
            eta = case when p_delay is null or t.state <> 3 then t.eta end,
            due_at = case when p_delay is null or t.state = 3 then t.due_at else least(p_now + p_delay * interval '1 second',
                t.created_at + t.longest_wait * interval '1 second') end
        where t.id = p_id and t.lease_until is null and t.unique_key = p_key
            and exists (select 1 from {schema}.unique_key k where k.key = p_key and k.id = p_id);
    v_is_replaced := found;
    if v_is_replaced and v_was.state not in (1, 3) then
        perform {schema}.moved_v1(v_was.queue, case when v_was.state = 2 then 2 else 20 + v_was.priority end, 1, 1);
    end if;
    if v_is_replaced and v_was.state = 5 then
        perform {schema}.make_way_v1(v_was.queue, v_was.gates, null, p_now);
    end if;
    return v_is_replaced;
end $$;

-- How many tasks of a queue wait, counted up to p_most.
create function {schema}.waiting_v1(p_queue text, p_most bigint) returns bigint language sql
set enable_seqscan = off as $$
    select (select count(*) from (select 1 from {schema}.task t
                where t.queue = p_queue and t.state = 0 and not t.front and t.lease_until is null limit p_most) x)
        + (select count(*) from (select 1 from {schema}.task t where t.queue = p_queue and t.front limit p_most) x)
        + (select count(*) from (select 1 from {schema}.task t
            where t.queue = p_queue and t.due_at is not null limit p_most) x)
        + (select count(*) from (select 1 from {schema}.task t where t.state = 5 and t.queue = p_queue limit p_most) x)
        + (select count(*) from (select 1 from {schema}.task t where t.state = 3 and t.queue = p_queue limit p_most) x)
        + (select count(*) from (select 1 from {schema}.room r join {schema}.task t
            on t.state = 4 and t.waits_at = r.gate and t.queue = r.queue where r.queue = p_queue limit p_most) x)
$$;

-- Whether a large queue is to be counted anew: as soon as it could have been filled since, at 100,000 tasks a second, but
-- for no more than a twentieth of the time.
create function {schema}.is_stale_v1(p_depth {schema}.depth, p_limit bigint) returns boolean language sql as $$
    select p_depth.counted_at is null or extract(epoch from clock_timestamp() - p_depth.counted_at)
        > greatest(1, 20 * p_depth.took, (p_limit - p_depth.waiting) / 1e5)
$$;

-- Whether an enqueue has to see to that: nobody has asked for it yet, or it was asked for in vain.
create function {schema}.wants_count_v1(p_depth {schema}.depth, p_limit bigint) returns boolean language sql as $$
    select {schema}.is_stale_v1(p_depth, p_limit) and (p_depth.wanted_since is null
        or clock_timestamp() - p_depth.wanted_since > interval '{count_within} seconds')
$$;

-- Count the waiting tasks of a large queue, unless somebody is at it, or was; returns how many there are.
create function {schema}.count_v1(p_queue text) returns bigint language plpgsql as $$
declare
    v_begin timestamptz := clock_timestamp();
    v_is_alone boolean := pg_try_advisory_xact_lock(hashtextextended({literal} || p_queue, 2));
    v_limit bigint := coalesce((select k.max_size from {schema}.queue k where k.name = p_queue), {max_size});
    v_depth {schema}.depth;
begin
    select * into v_depth from {schema}.depth d where d.queue = p_queue;
    if not v_is_alone or not {schema}.is_stale_v1(v_depth, v_limit) then
        return v_depth.waiting;
    end if;
    v_depth.waiting := {schema}.waiting_v1(p_queue, v_limit + 1);
    insert into {schema}.depth (queue, waiting, counted_at, took)
        values (p_queue, v_depth.waiting, clock_timestamp(), extract(epoch from clock_timestamp() - v_begin))
        on conflict (queue) do update
            set waiting = excluded.waiting, counted_at = excluded.counted_at, took = excluded.took, wanted_since = null;
    return v_depth.waiting;
end $$;

-- {queue: [depth, limit, warning level]} of those queues that have no room for all, or are past their warning level with
-- them; null where there is none. A small queue is counted at each call. A large one is counted by the workers, because
-- that takes a while: here it is asked for, and done where it was asked for in vain, or before anything is refused; not
-- inside a caller's transaction.
create function {schema}.capacity_v1(p_queues text[], p_may_count boolean) returns jsonb language plpgsql
set enable_seqscan = off as $$
declare
    v_fills jsonb;
    v_queue text;
    v_count bigint;
    v_limit bigint;
    v_warn float8;
    v_depth {schema}.depth;
begin
    for v_queue, v_count in select q, count(*) from unnest(p_queues) q group by q loop
        select k.max_size, k.warn_at into v_limit, v_warn from {schema}.queue k where k.name = v_queue;
        v_limit := coalesce(v_limit, {max_size});
        if v_limit <= {counted_size} then
            v_depth.waiting := {schema}.waiting_v1(v_queue, v_limit + 1);
        else
            select * into v_depth from {schema}.depth d where d.queue = v_queue;
            if p_may_count and {schema}.is_stale_v1(v_depth, v_limit) then
                if v_depth.counted_at is null or v_depth.waiting + v_count > v_limit
                    or clock_timestamp() - v_depth.wanted_since > interval '{count_within} seconds'
                then
                    v_depth.waiting := {schema}.count_v1(v_queue);
                elsif v_depth.wanted_since is null then
                    update {schema}.depth d set wanted_since = clock_timestamp() where d.ctid = (select x.ctid
                        from {schema}.depth x where x.queue = v_queue and x.wanted_since is null
                        for no key update skip locked);
                end if;
            end if;
        end if;
        if coalesce(v_depth.waiting, 0) + v_count >= coalesce(v_warn, {warn_at}) * v_limit
            or coalesce(v_depth.waiting, 0) + v_count > v_limit
        then
            v_fills := coalesce(v_fills, '{}') || jsonb_build_object(v_queue, jsonb_build_array(
                coalesce(v_depth.waiting, 0), v_limit, coalesce(v_warn, {warn_at}) * v_limit));
        end if;
    end loop;
    return v_fills;
end $$;

-- place → 'f' of the messages for which their queue has no room: what is known already takes none.
create function {schema}.refused_v1(
    p_ids text[], p_queues text[], p_digests text[], p_fresh uuid[], p_told jsonb, p_fills jsonb
) returns jsonb language sql set enable_seqscan = off as $$
    select coalesce(jsonb_object_agg(a.ord, 'f') filter (where n.number > n.room), '{}') from (
        select u.id, row_number() over (partition by u.queue order by u.ord) as number,
                (p_fills -> u.queue ->> 1)::bigint - (p_fills -> u.queue ->> 0)::bigint as room
            from (select distinct on (x.id) x.id, x.queue, x.ord from unnest(p_ids::uuid[], p_queues) with ordinality
                x(id, queue, ord) order by x.id, x.ord) u
            where p_fills ? u.queue and not p_told ? u.ord::text
                and (p_digests is null or p_digests[u.ord] = '' or u.id = any(p_fresh))
                and not exists (select 1 from {schema}.record r where r.id = u.id)
                and not exists (select 1 from {schema}.tombstone s where s.id = u.id and s.forget_at > clock_timestamp())) n
        join unnest(p_ids::uuid[]) with ordinality a(id, ord) on a.id = n.id
$$;

-- The letters with what is told beside.
create function {schema}.with_more_v1(p_letters text, p_told jsonb, p_fills jsonb, p_queues text[]) returns text
language plpgsql as $$
declare
    v_more jsonb := '{}';
    v_owners jsonb := '{}';
    v_fills jsonb;
    t record;
begin
    for t in select x.key, x.value from jsonb_each_text(p_told) x loop
        p_letters := overlay(p_letters placing
            case when t.value like 'n:%' then 'n' when length(t.value) > 1 then 'd' else t.value end from t.key::int for 1);
        if length(t.value) > 1 then
            v_owners := v_owners || jsonb_build_object(t.key, case when t.value like 'n:%' then substr(t.value, 3)
                else t.value end);
        end if;
    end loop;
    if v_owners <> '{}' then
        v_more := v_more || jsonb_build_object('owners', v_owners);
    end if;
    -- As full as it is now.
    select jsonb_object_agg(f.queue, jsonb_build_array(f.depth, f.most)) into v_fills from (select x.key as queue, (x.value ->> 1)::bigint as most, (x.value ->> 2)::float8 as warn,
                (x.value ->> 0)::bigint + (select count(*) from unnest(p_queues, string_to_array(p_letters, null))
                    u(queue, letter) where u.queue = x.key and u.letter = 'c') as depth
            from jsonb_each(p_fills) x) f where f.depth >= f.warn or f.depth >= f.most;
    if v_fills is not null then
        v_more := v_more || jsonb_build_object('fills', v_fills);
    end if;
    return p_letters || case when v_more = '{}' then '' else e'\n' || v_more::text end;
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
create function {schema}.enqueue_json_v1(p_messages text, p_atomic boolean) returns text language sql as $$
    select pg_notify({literal}, 'q:' || k.queue)
        from (select distinct x.queue from json_to_recordset(p_messages::json) x(queue text)) k;
    select {schema}.enqueue_v1(
            array_agg(m.id order by m.ord), array_agg(m.name order by m.ord),
            array_agg(decode(m.body, 'base64') order by m.ord), array_agg(m.queue order by m.ord),
            array_agg(m.priority order by m.ord), array_agg(m.group order by m.ord), array_agg(m.delay order by m.ord),
            array_agg(m.eta order by m.ord), array_agg(m.expires order by m.ord),
            array_agg(m.max_lost_leases order by m.ord), array_agg(m.dead_letter order by m.ord),
            array_agg(m.retention order by m.ord), array_agg(m.tenant order by m.ord), array_agg(m.digest order by m.ord),
            jsonb_object_agg(m.ord, m.special) filter (where m.special is not null),
            null, null, null, null, p_atomic, false, true)
        from (select x.*, row_number() over () as ord from json_to_recordset(p_messages::json) x(
            id text, name text, body text, queue text, priority smallint, "group" text, delay float8, eta float8,
            expires float8, max_lost_leases int, dead_letter boolean, retention float8, tenant text, digest text, special jsonb)) m
$$;
