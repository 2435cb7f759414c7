-- oldest speaking: 10

-- Tenants (taskq.domain.tenants): a tenant is the group of its tasks' lanes.

-- What is set for one.
create table {schema}.tenant (
    name text collate "C" primary key,
    weight float8 not null,
    running int,
    rate jsonb,                                             -- a limit, as in task.gates
    unfinished bigint,
    payload_bytes bigint,
    gates text                                              -- its limits, as in task.gates
);
-- What a tenant with many tasks had when they were counted, and how many seconds that took.
create table {schema}.tenant_load (
    name text collate "C" primary key, unfinished bigint not null, payload_bytes bigint not null,
    counted_at timestamptz not null, took float8 not null
) with (fillfactor = 20);
create index task_tenant on {schema}.task (lane_group) where lane_group <> '';

-- What a tenant has. Of some hundred tasks and more it is told as it was some time ago, so that counting takes no more than
-- a twentieth of the time; where it may soon be more than p_most and p_most_bytes (null: no matter), only of many thousand.
create function {schema}.tenant_load_v1(
    p_tenant text, p_most bigint, p_most_bytes bigint, out p_unfinished bigint, out p_bytes bigint
) language plpgsql set enable_seqscan = off as $$
declare
    v_begin timestamptz := clock_timestamp();
    v_load {schema}.tenant_load;
begin
    select * into v_load from {schema}.tenant_load k where k.name = p_tenant;
    if found and extract(epoch from v_begin - v_load.counted_at) < greatest(0.5, 20 * v_load.took) and (
        v_load.unfinished > {counted_size} or (v_load.unfinished + 1000 <= p_most and 1.1 * v_load.payload_bytes <= p_most_bytes)
            is not false)
    then
        p_unfinished := v_load.unfinished;
        p_bytes := v_load.payload_bytes;
        return;
    end if;
    select count(*), coalesce(sum(octet_length(t.body)), 0) into p_unfinished, p_bytes
        from {schema}.task t where t.lane_group = p_tenant;
    if (p_unfinished > {kept_load} or v_load.name is not null)
        and pg_try_advisory_xact_lock(hashtextextended({literal} || p_tenant, 5))
    then
        if p_unfinished > {kept_load} then
            insert into {schema}.tenant_load values (
                    p_tenant, p_unfinished, p_bytes, clock_timestamp(), extract(epoch from clock_timestamp() - v_begin))
                on conflict (name) do update set unfinished = excluded.unfinished,
                    payload_bytes = excluded.payload_bytes, counted_at = excluded.counted_at, took = excluded.took;
        else
            delete from {schema}.tenant_load k where k.name = p_tenant;
        end if;
    end if;
end $$;

-- place → 'q' of the messages for which their tenants have no room: what is known already, or refused, takes none.
create function {schema}.over_quota_v1(
    p_ids text[], p_bodies bytea[], p_groups text[], p_digests text[], p_fresh uuid[], p_told jsonb
) returns jsonb language plpgsql set enable_seqscan = off as $$
declare
    v_told jsonb := '{}';
    v_tenant {schema}.tenant;
    v_unfinished bigint;
    v_bytes bigint;
    m record;
begin
    for v_tenant in select k.* from {schema}.tenant k where coalesce(k.unfinished, k.payload_bytes) is not null
        and k.name in (select distinct g from unnest(p_groups) g)
    loop
        select l.p_unfinished, l.p_bytes into v_unfinished, v_bytes
            from {schema}.tenant_load_v1(v_tenant.name, v_tenant.unfinished, v_tenant.payload_bytes) l;
        for m in select u.id, min(u.ord) as ord, array_agg(u.ord) as places, octet_length(p_bodies[min(u.ord)]) as size
            from unnest(p_ids::uuid[], p_groups) with ordinality u(id, tenant, ord)
            where u.tenant = v_tenant.name and not p_told ? u.ord::text
                and (p_digests is null or p_digests[u.ord] = '' or u.id = any(p_fresh))
                and not exists (select 1 from {schema}.record r where r.id = u.id)
                and not exists (select 1 from {schema}.tombstone s where s.id = u.id and s.forget_at > clock_timestamp())
            group by u.id order by 2
        loop
            if v_unfinished + 1 > v_tenant.unfinished or v_bytes + m.size > v_tenant.payload_bytes then
                v_told := v_told || (select jsonb_object_agg(x, 'q') from unnest(m.places) x);
            else
                v_unfinished := v_unfinished + 1;
                v_bytes := v_bytes + m.size;
            end if;
        end loop;
    end loop;
    return v_told;
end $$;

-- Whether a task has limits beside those of its tenant.
create function {schema}.has_own_limits_v1(p_gates text) returns boolean language sql immutable as $$
    select exists (select 1 from jsonb_array_elements(p_gates::jsonb) l where l ->> 1 not like '@%')
$$;

-- Have tasks that are locked keep to what their tenants may have now. Returns their row ids, in their order, and whether
-- any of them has limits.
create function {schema}.stamp_v1(p_rows tid[], out p_stamped tid[], out p_limited boolean) language plpgsql
set plan_cache_mode = force_generic_plan set enable_hashjoin = off set enable_mergejoin = off as $$
begin
    with wanted as materialized (
        select t.ctid as row, nullif((
                select jsonb_agg(l order by n.part, n.ord)::text from (
                    select x.l, 0, x.ord from jsonb_array_elements(k.gates::jsonb) with ordinality x(l, ord)
                    union all
                    select x.l, 1, x.ord from jsonb_array_elements(t.gates::jsonb) with ordinality x(l, ord)
                        where x.l ->> 1 not like '@%') n(l, part, ord)), '[]') as gates
            from {schema}.task t left join {schema}.tenant k on k.name = t.lane_group
            where t.ctid = any(p_rows) and t.lane_group <> '' and (k.gates is not null or t.gates like '%"@%')
    ), changed as (
        update {schema}.task t set gates = w.gates from wanted w
            where t.ctid = w.row and t.gates is distinct from w.gates returning w.row as before, t.ctid as after
    ) select coalesce(array_agg(coalesce(c.after, u.row) order by u.ord), '{}') into p_stamped
        from unnest(p_rows) with ordinality u(row, ord) left join changed c on c.before = u.row;
    select coalesce(bool_or(t.gates is not null), false) into p_limited from {schema}.task t where t.ctid = any(p_stamped);
end $$;

-- The limit of a tenant at a gate as it is now; where it has none any more, one that nobody comes up to.
create function {schema}.limit_at_v1(p_gate text) returns jsonb language sql stable set enable_seqscan = off as $$
    select coalesce(
        (select x.l from {schema}.tenant k cross join jsonb_array_elements(k.gates::jsonb) x(l)
            where k.name = substr(p_gate, 4) and x.l ->> 0 = left(p_gate, 1)),
        case when p_gate like 'c:%' then jsonb_build_array('c', substr(p_gate, 3), 1000000)
            else jsonb_build_array('r', substr(p_gate, 3), 1e6, 1e6, false) end)
$$;

-- Those tenants that have as much as they may, and of which some wait for that in the queue: more of their tasks would only
-- join them.
create function {schema}.shut_v1(p_queue text, p_now timestamptz) returns text[] language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
declare
    v_now float8 := extract(epoch from p_now);
    v_shut text[] := '{}';
    v_gate text;
    l jsonb;
    g {schema}.gate;
begin
    for v_gate in select o.gate from {schema}.room o where o.queue = p_queue and o.gate like '_:@%' loop
        l := {schema}.limit_at_v1(v_gate);
        g := null;
        select * into g from {schema}.gate k where k.name = v_gate;
        g.name := v_gate;
        if {schema}.gate_room_v1({schema}.gate_now_v1(g, l, v_now), l, v_now) = 0 then
            v_shut := v_shut || substr(v_gate, 4);
        end if;
    end loop;
    return v_shut;
end $$;

-- Those tenants of these lanes that have much of what runs (taskq.domain.routing.is_noisy). Claims take from the heads of
-- lanes: what runs stands there. So it reads on only where the first of a lane runs, and then where many do; who has more
-- than it counts has much.
create function {schema}.noisy_v1(p_queue text, p_priorities smallint[], p_groups text[]) returns text[]
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off
set enable_hashjoin = off set enable_mergejoin = off as $$
begin
    -- Usually so little runs that nobody has much.
    perform 1 from {schema}.claim c cross join unnest(c.ids) i(id) offset {noisy_least} - 1 limit 1;
    if not found then
        return '{}';
    end if;
    return array(
        select s.tenant from (
            select l.tenant, sum(n.running) as running, sum(sum(n.running)) over () as total,
                    bool_or(n.running = {noisy_reach}) as is_more
                from unnest(p_priorities, p_groups) l(priority, tenant)
                cross join lateral (
                    select t.lease_until is not null as runs from {schema}.task t
                        where t.queue = p_queue and t.priority = l.priority and t.lane_group = l.tenant
                            and t.state = 0 and not t.front
                        order by t.queue, t.priority, t.lane_group, t.seq limit 1) f
                cross join lateral (select {schema}.running_v1(p_queue, l.priority, l.tenant) as running
                    where f.runs) n
                where l.tenant <> '' group by l.tenant) s
            left join {schema}.tenant k on k.name = s.tenant
            where s.running >= {noisy_least} and (
                s.running > {noisy_share} * coalesce(k.weight, 1) * s.total
                or s.is_more and {noisy_share} * coalesce(k.weight, 1) < 1));
end $$;

-- How many tasks of a lane run, up to so many as noisy_v1 reads, if those are so many that it matters; else about as many.
create function {schema}.running_v1(p_queue text, p_priority smallint, p_group text) returns bigint language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off as $$
declare
    v_running bigint;
    v_reach int;
begin
    foreach v_reach in array array[2 * {noisy_least}, {noisy_reach}] loop
        select count(h.lease_until) into v_running from (
            select t.lease_until from {schema}.task t
                where t.queue = p_queue and t.priority = p_priority and t.lane_group = p_group
                    and t.state = 0 and not t.front
                order by t.queue, t.priority, t.lane_group, t.seq limit v_reach) h;
        exit when v_running < {noisy_least};
    end loop;
    return v_running;
end $$;

-- Whether a queue has a task in a lane that waits for nothing but a claim.
create function {schema}.has_pending_v1(p_queue text, p_now timestamptz) returns boolean language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off as $$
declare
    v_shut text[] := {schema}.shut_v1(p_queue, p_now);
begin
    if v_shut = '{}' then
        return exists (select 1 from {schema}.task t
            where t.queue = p_queue and t.state = 0 and not t.front and t.lease_until is null);
    end if;
    return exists (select 1 from (
            select p::smallint as priority, '' as tenant from generate_series(0, 3) p
            union all select x.priority, x.tenant from {schema}.groups_v1(p_queue) g,
                unnest(g.p_priorities, g.p_groups) x(priority, tenant) where x.tenant <> all(v_shut)) l
        cross join lateral (select 1 from {schema}.task t
            where t.queue = p_queue and t.priority = l.priority and t.lane_group = l.tenant and t.state = 0
                and not t.front and t.lease_until is null
            order by t.queue, t.priority, t.lane_group, t.seq limit 1) h);
end $$;

-- Set what a tenant may have; p_weight null: nothing. Those that wait for it are looked at by the next claims.
create function {schema}.set_quota_v1(
    p_tenant text, p_weight float8, p_running int, p_rate text, p_unfinished bigint, p_bytes bigint, p_gates text
) returns void language plpgsql set enable_seqscan = off as $$
declare
    v_gate text;
begin
    -- No claim is under way that knows of the old one and may put tasks into a room yet.
    perform pg_advisory_xact_lock(hashtextextended({literal}, 6));
    if p_weight is null then
        delete from {schema}.tenant k where k.name = p_tenant;
    else
        insert into {schema}.tenant values (
                p_tenant, p_weight, p_running, p_rate::jsonb, p_unfinished, p_bytes, nullif(p_gates, ''))
            on conflict (name) do update set weight = excluded.weight, running = excluded.running, rate = excluded.rate,
                unfinished = excluded.unfinished, payload_bytes = excluded.payload_bytes, gates = excluded.gates;
    end if;
    foreach v_gate in array array['c:@' || p_tenant, 'r:@' || p_tenant] loop
        perform 1 from {schema}.gate k where k.name = v_gate for update;
        perform {schema}.open_gate_v1(v_gate, clock_timestamp());
    end loop;
end $$;
