-- oldest speaking: 7

-- The gates that limited tasks must pass: rate, concurrency, breaker, as taskq.domain.limits says it. A limit is one array
-- of `task.gates`:
--   ["r", key, per second, burst, adaptive]   ["c", key, limit]   ["b", key, failure rate, window, least, cooldown, probes]
-- Instants are seconds since the epoch here.
--
-- A claim never waits for a gate: a task of which somebody else is at a gate stays where it is, for this moment. Whoever
-- settles holds its tasks and waits for the gates of all of them, in the order of their names. What a room says is for
-- who is at its gate to change; anybody may call it due. So nobody waits for a room: who is there has called it due.

-- What holds for gates instead of what tasks bring along (taskq.domain.overrides): a table of them, and with each gate the
-- one that it heeds, so that a claim reads no further row. `figures` is an object: per_second and burst, limit, or is_open;
-- until; reason.
create table {schema}.override (gate text collate "C" primary key, figures jsonb not null);
alter table {schema}.gate add column override jsonb;

create function {schema}.all_keys_of_v1(p_gate text) returns text language sql immutable as $$
    select case when p_gate ~ '^.:.*:' then regexp_replace(p_gate, '[^:]*$', '*') else p_gate end
$$;

-- What a gate heeds, by its name: its own, else that of all keys.
create function {schema}.override_of_v1(p_gate text) returns jsonb language sql stable as $$
    select o.figures from {schema}.override o
        where o.gate in (p_gate, {schema}.all_keys_of_v1(p_gate)) and p_gate not like 'r:queue:%'
            and coalesce((o.figures ->> 'until')::float8 > extract(epoch from clock_timestamp()), true)
        order by o.gate = p_gate desc limit 1
$$;

-- What holds for a gate now; null: nothing.
create function {schema}.override_now_v1(g {schema}.gate, p_now float8) returns jsonb language sql immutable as $$
    select case when coalesce((g.override ->> 'until')::float8 > p_now, true) then g.override end
$$;

-- A limit with the figures that hold.
create function {schema}.overridden_v1(g {schema}.gate, l jsonb, p_now float8) returns jsonb
language plpgsql immutable as $$
declare
    o jsonb;
begin
    if g.override is null then
        return l;
    end if;
    o := {schema}.override_now_v1(g, p_now);
    if o ? 'per_second' and l ->> 0 = 'r' then
        return jsonb_set(jsonb_set(l, '{2}', o -> 'per_second'), '{3}', o -> 'burst');
    elsif o ? 'limit' and l ->> 0 = 'c' then
        return jsonb_set(l, '{2}', o -> 'limit');
    end if;
    return l;
end $$;

-- The names of the gates of these tasks.
create function {schema}.gate_names_v1(p_gates text[]) returns text[] language sql stable as $$
    select coalesce(array_agg(distinct (l ->> 0) || ':' || (l ->> 1) order by (l ->> 0) || ':' || (l ->> 1)), '{}')
        from unnest(p_gates) g(gates), jsonb_array_elements(g.gates::jsonb) l
$$;

-- A gate as it is now: the bucket filled up.
create function {schema}.gate_now_v1(g {schema}.gate, l jsonb, p_now float8) returns {schema}.gate
language plpgsql immutable as $$
declare
    v_passed float8;
begin
    if l ->> 0 <> 'r' then
        return g;
    end if;
    l := {schema}.overridden_v1(g, l, p_now);
    if g.at is null then
        g.tokens := (l ->> 3)::float8;
        g.share := 1;
    else
        v_passed := greatest(0, p_now - g.at);
        g.tokens := least((l ->> 3)::float8, g.tokens + v_passed * (l ->> 2)::float8 * g.share);
        g.share := case when (l ->> 4)::boolean then least(1, g.share + v_passed / {recovery}) else 1 end;
    end if;
    g.at := p_now;
    return g;
end $$;

create function {schema}.seconds_to_probe_v1(g {schema}.gate, l jsonb, p_now float8) returns float8
language sql immutable as $$
    select case when g.opened_at is null then 0 else greatest(0,
        case when g.probing < (l ->> 6)::int then g.opened_at else g.probed_at end + (l ->> 5)::float8 - p_now) end
$$;

-- How many may pass a gate, which is as it is now.
create function {schema}.gate_room_v1(g {schema}.gate, l jsonb, p_now float8) returns int
language plpgsql stable as $$
declare
    v_is_open boolean;
begin
    if g.override is not null then
        l := {schema}.overridden_v1(g, l, p_now);
        v_is_open := ({schema}.override_now_v1(g, p_now) ->> 'is_open')::boolean;
        if v_is_open is not null then
            return case when v_is_open then 0 else 1000000 end;
        end if;
    end if;
    return case l ->> 0
        when 'r' then least(1000000, greatest(0, floor(g.tokens + {rounding})))
        when 'c' then greatest(0, (l ->> 2)::int - (select count(*) from {schema}.holder h where h.gate = g.name))
        else case
            when {schema}.seconds_to_probe_v1(g, l, p_now) > 0 then 0
            when g.opened_at is null then 1000000
            else greatest(1, (l ->> 6)::int - g.probing) end
        end;
end $$;

-- When a gate opens for one more, after p_passing that may pass already; earlier where a holder leaves.
create function {schema}.gate_opens_v1(g {schema}.gate, l jsonb, p_now float8, p_passing int) returns timestamptz
language plpgsql immutable as $$
declare
    v_wait float8;
    o jsonb := {schema}.override_now_v1(g, p_now);
begin
    l := {schema}.overridden_v1(g, l, p_now);
    if l ->> 0 = 'c' or (o ->> 'is_open')::boolean then
        v_wait := {look_again};
    elsif l ->> 0 = 'r' then
        v_wait := greatest(0, 1 - (g.tokens - p_passing)) / ((l ->> 2)::float8 * g.share);
    else
        v_wait := {schema}.seconds_to_probe_v1(g, l, p_now);
        v_wait := case when v_wait = 0 then (l ->> 5)::float8 else v_wait end;
    end if;
    return to_timestamp(p_now + least(v_wait, 1e10, (o ->> 'until')::float8 - p_now));
end $$;

create function {schema}.keep_gate_v1(g {schema}.gate, l jsonb) returns void language sql as $$
    update {schema}.gate k set tokens = g.tokens, at = g.at, share = g.share, cut_at = g.cut_at, since = g.since,
        runs = g.runs, failures = g.failures, opened_at = g.opened_at, probing = g.probing, probed_at = g.probed_at,
        passed = g.passed, forget_at = clock_timestamp() + (case x.l ->> 0
            when 'r' then least(1e10, ((x.l ->> 3)::float8 - g.tokens) / ((x.l ->> 2)::float8 * g.share) + {recovery})
            else 86400 end) * interval '1 second'
        from (select {schema}.overridden_v1(g, l, extract(epoch from clock_timestamp())::float8) as l) x
        where k.name = g.name
$$;

-- Take gates for this transaction: makes those that are missing and that nobody else is making, and returns those that
-- nobody else is at. A gate is made with the override that it heeds: while one is made, nobody changes that.
create function {schema}.take_gates_v1(p_names text[]) returns text[] language plpgsql
set enable_seqscan = off as $$
begin
    if exists (select 1 from unnest(p_names) n
            where not exists (select 1 from {schema}.gate k where k.name = n)) then
        perform pg_advisory_xact_lock_shared(hashtextextended({literal}, 4));
        insert into {schema}.gate (name, override) select n, {schema}.override_of_v1(n) from unnest(p_names) n
            where case when not exists (select 1 from {schema}.gate k where k.name = n)
                then pg_try_advisory_xact_lock(hashtextextended({literal} || n, 3)) end
            order by n on conflict do nothing;
    end if;
    return array(select k.name from {schema}.gate k where k.name = any(p_names) order by k.name for update skip locked);
end $$;

-- Have tasks that are locked pass their gates all at once, where every gate has room for all of them; returns whether.
create function {schema}.pass_all_v1(p_rows tid[], p_mine text[], p_now float8) returns boolean language plpgsql
set plan_cache_mode = force_generic_plan set enable_hashjoin = off set enable_mergejoin = off as $$
declare
    v_gates {schema}.gate[] := '{}';
    v_specs jsonb[] := '{}';
    d record;
    g {schema}.gate;
begin
    for d in select (x.l ->> 0) || ':' || (x.l ->> 1) as name, min(x.l::text)::jsonb as l, count(*) as number,
            count(distinct x.l) as kinds
        from {schema}.task t, jsonb_array_elements(t.gates::jsonb) x(l)
        where t.ctid = any(p_rows) and t.gates is not null group by 1
    loop
        if d.kinds > 1 or d.name <> all(p_mine) then
            return false;
        end if;
        select * into g from {schema}.gate k where k.name = d.name;
        g := {schema}.gate_now_v1(g, d.l, p_now);
        if g.opened_at is not null or {schema}.gate_room_v1(g, d.l, p_now) < d.number then
            return false;
        end if;
        if d.l ->> 0 = 'r' then
            g.tokens := g.tokens - d.number;
            v_gates := v_gates || g;
            v_specs := v_specs || d.l;
        end if;
    end loop;
    for v_index in 1..cardinality(v_gates) loop
        perform {schema}.keep_gate_v1(v_gates[v_index], v_specs[v_index]);
    end loop;
    insert into {schema}.holder (gate, id) select 'c:' || (x.l ->> 1), t.id
        from {schema}.task t, jsonb_array_elements(t.gates::jsonb) x(l)
        where t.ctid = any(p_rows) and t.gates is not null and x.l ->> 0 = 'c' on conflict do nothing;
    return true;
end $$;

-- Of tasks that are locked, in their order: those that may start, up to p_limit, having passed their gates; and those
-- that stay where they are, because somebody else is at one of their gates. The others wait at the first gate that is
-- closed.
create function {schema}.pass_gates_v1(
    p_rows tid[], p_limit int, p_now timestamptz, out p_passed tid[], out p_left tid[], out p_parked int
) language plpgsql set plan_cache_mode = force_generic_plan set enable_hashjoin = off set enable_mergejoin = off as $$
declare
    v_now float8 := extract(epoch from p_now);
    v_names text[] := {schema}.gate_names_v1(array(
        select t.gates from {schema}.task t where t.ctid = any(p_rows) and t.gates is not null));
    v_mine text[] := {schema}.take_gates_v1(v_names);
    v_row record;
    l jsonb;
    g {schema}.gate;
    v_gate text;
    v_opens timestamptz;
begin
    p_parked := 0;
    p_left := '{}';
    if cardinality(p_rows) <= p_limit and {schema}.pass_all_v1(p_rows, v_mine, v_now) then
        p_passed := p_rows;
        return;
    end if;
    p_passed := '{}';
    for v_row in select u.row, t.id, t.queue, t.gates, t.state from unnest(p_rows) with ordinality u(row, ord)
        join {schema}.task t on t.ctid = u.row order by u.ord
    loop
        exit when cardinality(p_passed) >= p_limit;
        if cardinality(v_mine) < cardinality(v_names) and not {schema}.gate_names_v1(array[v_row.gates]) <@ v_mine then
            p_left := p_left || v_row.row;
            continue;
        end if;
        v_opens := null;
        for l in select * from jsonb_array_elements(v_row.gates::jsonb) loop
            v_gate := (l ->> 0) || ':' || (l ->> 1);
            select * into g from {schema}.gate k where k.name = v_gate;
            g := {schema}.gate_now_v1(g, l, v_now);
            if {schema}.gate_room_v1(g, l, v_now) = 0 then
                v_opens := {schema}.gate_opens_v1(g, l, v_now, 0);
                exit;
            end if;
        end loop;
        if v_opens is null then
            perform {schema}.enter_gate_v1(x, v_row.id, v_now) from jsonb_array_elements(v_row.gates::jsonb) x;
            p_passed := p_passed || v_row.row;
        else
            update {schema}.task k set state = 4, front = false, waits_at = v_gate where k.ctid = v_row.row;
            update {schema}.room k set spec = l, opens_at = v_opens where (k.queue, k.gate) in (
                select x.queue, x.gate from {schema}.room x
                    where x.queue = v_row.queue and x.gate = v_gate for update skip locked);
            if not found then  -- there is none, or somebody calls it due
                insert into {schema}.room (queue, gate, spec, opens_at) select v_row.queue, v_gate, l, v_opens
                    where not exists (
                        select 1 from {schema}.room x where x.queue = v_row.queue and x.gate = v_gate);
            end if;
            if v_row.state = 5 then
                perform {schema}.make_way_v1(v_row.queue, v_row.gates, v_gate, p_now);
            end if;
            p_parked := p_parked + 1;
        end if;
    end loop;
end $$;

-- One who was let out will not start now: others may, where it would have passed, but for p_but.
create function {schema}.make_way_v1(p_queue text, p_gates text, p_but text, p_now timestamptz) returns void
language sql set enable_seqscan = off as $$
    update {schema}.room k set opens_at = p_now where (k.queue, k.gate) in (
        select x.queue, x.gate from {schema}.room x
            where x.queue = p_queue and x.gate = any({schema}.gate_names_v1(array[p_gates])) and x.gate is distinct from p_but
            order by x.queue, x.gate for update skip locked)
$$;

-- A task passes a gate that is open, and this transaction's.
create function {schema}.enter_gate_v1(l jsonb, p_id uuid, p_now float8) returns void language plpgsql as $$
declare
    g {schema}.gate;
begin
    if l ->> 0 = 'c' then
        insert into {schema}.holder (gate, id) values ('c:' || (l ->> 1), p_id) on conflict do nothing;
        return;
    end if;
    select * into g from {schema}.gate k where k.name = (l ->> 0) || ':' || (l ->> 1);
    if l ->> 0 = 'r' then
        g := {schema}.gate_now_v1(g, l, p_now);
        g.tokens := g.tokens - 1;
    elsif g.opened_at is null then
        return;
    else
        g.probing := case when g.probing < (l ->> 6)::int then g.probing + 1 else 1 end;
        g.probed_at := p_now;
    end if;
    perform {schema}.keep_gate_v1(g, l);
end $$;

-- Let out of the rooms of a queue as many as the gates that have opened let pass; beside them the one that has been
-- ready longest, if since before p_aged: it has its share of the claims.
create function {schema}.let_out_v1(p_queue text, p_now timestamptz, p_aged timestamptz) returns void language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off
set enable_hashjoin = off set enable_mergejoin = off as $$
declare
    v_now float8 := extract(epoch from p_now);
    r {schema}.room;
    g {schema}.gate;
    v_count int;
    v_most int;
begin
    for r in select * from {schema}.room k where k.queue = p_queue and k.opens_at <= p_now
        order by k.queue, k.opens_at limit 20
    loop
        select * into g from {schema}.gate k where k.name = r.gate for update skip locked;
        continue when not found;
        select * into r from {schema}.room k
            where k.gate = r.gate and k.queue = p_queue and k.opens_at <= p_now for update skip locked;
        continue when not found;
        if r.gate like '_:@%' then  -- what a tenant may have may have been set anew
            r.spec := {schema}.limit_at_v1(r.gate);
        end if;
        g := {schema}.gate_now_v1(g, r.spec, v_now);
        v_most := {schema}.gate_room_v1(g, r.spec, v_now);
        with passing as materialized (
            select t.ctid from {schema}.task t where t.state = 4 and t.waits_at = r.gate and t.queue = p_queue
                order by t.waits_at, t.queue, t.priority desc, t.ready_at, t.seq
                limit least(200, v_most) for no key update skip locked)
        update {schema}.task t set state = 5, waits_at = null from passing p where t.ctid = p.ctid;
        get diagnostics v_count = row_count;
        if v_count > 0 then
            with aged as materialized (
                select s.ctid from generate_series(0, 3) p cross join lateral (
                    select t.ctid, t.ready_at, t.seq from {schema}.task t
                        where t.state = 4 and t.waits_at = r.gate and t.queue = p_queue and t.priority = p::smallint
                        order by t.waits_at, t.queue, t.priority desc, t.ready_at, t.seq limit 1) s
                    where s.ready_at < p_aged order by s.ready_at, s.seq limit 1
            ), locked as materialized (
                select t.ctid from {schema}.task t where t.ctid = any(array(select a.ctid from aged a)) and t.state = 4
                    for no key update skip locked)
            update {schema}.task t set state = 5, waits_at = null from locked l where t.ctid = l.ctid;
        end if;
        perform 1 from {schema}.task t where t.state = 4 and t.waits_at = r.gate and t.queue = p_queue limit 1;
        if found then
            -- While it is open for more: at once, but for those that somebody is at.
            update {schema}.room k set opens_at = case when v_count >= v_most
                    then {schema}.gate_opens_v1(g, r.spec, v_now, v_count)
                    else p_now + case when v_count < 200 then interval '1 second' else '0' end end
                where k.queue = r.queue and k.gate = r.gate;
        else
            delete from {schema}.room k where k.queue = r.queue and k.gate = r.gate;
        end if;
    end loop;
end $$;

-- Lock up to p_limit of the tasks of a queue that were let out, of one priority or, where that is null, those that have
-- been ready since before p_before, the oldest first.
create function {schema}.take_cleared_v1(
    p_queue text, p_priority int, p_before timestamptz, p_limit int, p_now timestamptz, p_taken tid[]
) returns tid[] language sql as $$
    select array(select t.ctid from {schema}.task t
        where t.state = 5 and t.queue = p_queue and (t.priority = p_priority or p_priority is null)
            and (t.expires_at is null or t.expires_at > p_now) and (p_before is null or t.ready_at < p_before)
            and t.ctid <> all(p_taken)
        order by t.ready_at, t.seq limit p_limit for no key update skip locked)
$$;

-- What is set for a queue itself: how many more of its tasks may start. The queue's gate is taken for this transaction,
-- so that of two claims the second sees what the first has taken; none where another claim is at it.
create function {schema}.queue_room_v1(
    p_queue text, p_workers int, p_rate jsonb, p_now timestamptz, out p_free int, out p_opens timestamptz
) language plpgsql as $$
declare
    v_gate text := 'r:queue:' || p_queue;
    g {schema}.gate;
begin
    p_free := 1000000;
    if {schema}.take_gates_v1(array[v_gate]) = '{}' then
        p_free := 0;
        p_opens := p_now;
        return;
    end if;
    if p_workers is not null then
        p_free := greatest(0, p_workers - (
            select count(*) from {schema}.claim c cross join unnest(c.ids) i(id) join {schema}.task t
                on t.id = i.id and t.claim_no = c.no and t.lease_until is not null where t.queue = p_queue));
    end if;
    if p_rate is not null then
        select * into g from {schema}.gate k where k.name = v_gate;
        g := {schema}.gate_now_v1(g, p_rate, extract(epoch from p_now));
        p_free := least(p_free, {schema}.gate_room_v1(g, p_rate, extract(epoch from p_now)));
        p_opens := {schema}.gate_opens_v1(g, p_rate, extract(epoch from p_now), floor(greatest(0, g.tokens))::int);
    end if;
end $$;

-- Whether what is set for a queue itself lets a task start, as a look that locks nothing tells it.
create function {schema}.is_open_v1(k {schema}.queue, p_now timestamptz) returns boolean language plpgsql stable as $$
declare
    g {schema}.gate;
begin
    if k.workers is not null and k.workers <= (
        select count(*) from {schema}.claim c cross join unnest(c.ids) i(id) join {schema}.task t
            on t.id = i.id and t.claim_no = c.no and t.lease_until is not null where t.queue = k.name)
    then
        return false;
    elsif k.rate is not null then
        select * into g from {schema}.gate x where x.name = 'r:queue:' || k.name;
        g := {schema}.gate_now_v1(g, k.rate, extract(epoch from p_now));
        return {schema}.gate_room_v1(g, k.rate, extract(epoch from p_now)) > 0;
    end if;
    return true;
end $$;

-- So many tasks of a queue that has a rate have started.
create function {schema}.spend_v1(p_queue text, p_rate jsonb, p_now timestamptz, p_count int) returns void
language plpgsql as $$
declare
    g {schema}.gate;
begin
    select * into g from {schema}.gate k where k.name = 'r:queue:' || p_queue;
    g := {schema}.gate_now_v1(g, p_rate, extract(epoch from p_now));
    g.tokens := g.tokens - p_count;
    perform {schema}.keep_gate_v1(g, p_rate);
end $$;

-- A breaker hears of the end of a run (taskq.domain.limits.ended); p_failed null: it says nothing.
create function {schema}.heard_v1(g {schema}.gate, l jsonb, p_failed boolean, p_started float8, p_now float8)
returns {schema}.gate language plpgsql immutable as $$
begin
    if p_failed is null then
        if g.opened_at is not null then
            g.probing := greatest(g.passed, g.probing - 1);
        end if;
    elsif g.opened_at is not null then
        if p_started < g.opened_at or g.probing = 0 then
            return g;
        elsif p_failed then
            g.opened_at := p_now; g.probing := 0; g.passed := 0;
        elsif g.passed + 1 >= (l ->> 6)::int then
            g.since := p_now; g.runs := 0; g.failures := 0; g.opened_at := null; g.probing := 0; g.passed := 0;
        else
            g.passed := g.passed + 1;
        end if;
    else
        if g.since is null or p_now - g.since >= (l ->> 3)::float8 then
            g.since := p_now; g.runs := 0; g.failures := 0;
        end if;
        g.runs := g.runs + 1;
        g.failures := g.failures + p_failed::int;
        if g.runs >= (l ->> 4)::int and g.failures >= (l ->> 2)::float8 * g.runs then
            g.opened_at := p_now; g.probing := 0; g.passed := 0;
        end if;
    end if;
    return g;
end $$;

-- A gate, which this transaction is at, may have opened: whoever claims next from a queue in which somebody waits for it
-- looks. Who is at a room at the same time has called it due.
create function {schema}.open_gate_v1(p_gate text, p_now timestamptz) returns void language plpgsql as $$
begin
    perform pg_notify({literal}, 'q:' || k.queue) from {schema}.room k where k.gate = p_gate;
    update {schema}.room k set opens_at = p_now where (k.gate, k.queue) in (
        select x.gate, x.queue from {schema}.room x where x.gate = p_gate for update skip locked);
end $$;

-- Have something hold for a gate, and for all keys of it, or take it back where p_figures is null. Returns whether anything
-- held before. Gates are locked as settlements lock them, and before the lock of those that make gates, who wait for none.
create function {schema}.override_gate_v1(p_gate text, p_figures jsonb) returns boolean language plpgsql as $$
declare
    v_now timestamptz := clock_timestamp();
    v_before boolean;
    v_gate text;
begin
    perform 1 from {schema}.gate k where k.name = p_gate or {schema}.all_keys_of_v1(k.name) = p_gate
        order by k.name for update;
    perform pg_advisory_xact_lock(hashtextextended({literal}, 4));
    delete from {schema}.override o where (o.figures ->> 'until')::float8 <= extract(epoch from v_now);
    v_before := exists (select 1 from {schema}.override o where o.gate = p_gate);
    if p_figures is null then
        delete from {schema}.override o where o.gate = p_gate;
    else
        insert into {schema}.override (gate, figures) values (p_gate, p_figures)
            on conflict (gate) do update set figures = excluded.figures;
    end if;
    update {schema}.gate k set override = {schema}.override_of_v1(k.name)
        where k.name = p_gate or {schema}.all_keys_of_v1(k.name) = p_gate;
    for v_gate in select distinct r.gate from {schema}.room r
        where r.gate = p_gate or {schema}.all_keys_of_v1(r.gate) = p_gate
    loop
        perform {schema}.open_gate_v1(v_gate, v_now);
    end loop;
    return v_before;
end $$;

-- Runs have ended, or their leases were lost. p_failed: what each means to a breaker; p_throttled: whether the far side
-- said "too many requests".
create function {schema}.leave_gates_v1(
    p_ids uuid[], p_gates text[], p_started timestamptz[], p_failed boolean[], p_throttled boolean[], p_now timestamptz
) returns void language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
declare
    v_now float8 := extract(epoch from p_now);
    v_row record;
    g {schema}.gate;
    v_was_open boolean;
begin
    perform 1 from {schema}.gate k where k.name = any({schema}.gate_names_v1(p_gates)) order by k.name for update;
    for v_row in with left_ as (
            delete from {schema}.holder h using (select u.id, 'c:' || (x.l ->> 1) as gate
                from unnest(p_ids, p_gates) u(id, gates), jsonb_array_elements(u.gates::jsonb) x(l) where x.l ->> 0 = 'c') d
            where h.gate = d.gate and h.id = d.id returning h.gate)
        select distinct l.gate from left_ l
    loop
        perform {schema}.open_gate_v1(v_row.gate, p_now);
    end loop;
    for v_row in select u.id, u.started, u.failed, u.throttled, x.l, (x.l ->> 0) || ':' || (x.l ->> 1) as name
        from unnest(p_ids, p_gates, p_started, p_failed, p_throttled) with ordinality
            u(id, gates, started, failed, throttled, ord),
            jsonb_array_elements(u.gates::jsonb) with ordinality x(l, n)
        where x.l ->> 0 = 'b' or (u.throttled and x.l ->> 0 = 'r') order by u.ord, x.n
    loop
        select * into g from {schema}.gate k where k.name = v_row.name;
        continue when not found;
        if v_row.l ->> 0 = 'b' then
            v_was_open := g.opened_at is not null;
            g := {schema}.heard_v1(g, v_row.l, v_row.failed, extract(epoch from v_row.started), v_now);
            perform {schema}.keep_gate_v1(g, v_row.l);
            if v_was_open and {schema}.gate_room_v1(g, v_row.l, v_now) > 0 then
                perform {schema}.open_gate_v1(v_row.name, p_now);
            end if;
        elsif (v_row.l ->> 4)::boolean then
            g := {schema}.gate_now_v1(g, v_row.l, v_now);
            if v_now - g.cut_at >= {cut_every} then
                g.tokens := 0; g.share := greatest({least_share}, g.share / 2); g.cut_at := v_now;
                perform {schema}.keep_gate_v1(g, v_row.l);
            end if;
        end if;
    end loop;
end $$;

-- How limits stand, as tasks of a queue meet them.
create function {schema}.gates_v1(p_queue text, p_names text[]) returns table (
    name text, tokens float8, at float8, share float8, cut_at float8, since float8, runs int, failures int,
    opened_at float8, probing int, probed_at float8, passed int, holders text[], parked bigint
) language sql stable as $$
    select n.name, g.tokens, g.at, g.share, g.cut_at, g.since, g.runs, g.failures, g.opened_at, g.probing, g.probed_at,
            g.passed, array(select h.id::text from {schema}.holder h where h.gate = n.name order by h.id),
            (select count(*) from {schema}.task t where t.state = 4 and t.waits_at = n.name and t.queue = p_queue)
        from unnest(p_names) with ordinality n(name, ord) left join {schema}.gate g on g.name = n.name order by n.ord
$$;

-- Forget what a limit has counted: a full bucket, a closed breaker.
create function {schema}.reset_gate_v1(p_gate text) returns void language plpgsql as $$
begin
    perform 1 from {schema}.gate k where k.name = p_gate for update;
    update {schema}.gate k set tokens = null, at = null, share = 1, cut_at = default, since = null, runs = 0, failures = 0,
        opened_at = null, probing = 0, probed_at = 0, passed = 0 where k.name = p_gate;
    perform {schema}.open_gate_v1(p_gate, clock_timestamp());
end $$;
