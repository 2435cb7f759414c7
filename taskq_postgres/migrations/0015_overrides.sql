-- oldest speaking: 10

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

-- A gate as it is now: the bucket filled up.
create or replace function {schema}.gate_now_v1(g {schema}.gate, l jsonb, p_now float8) returns {schema}.gate
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

-- How many may pass a gate, which is as it is now.
create or replace function {schema}.gate_room_v1(g {schema}.gate, l jsonb, p_now float8) returns int
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
create or replace function {schema}.gate_opens_v1(g {schema}.gate, l jsonb, p_now float8, p_passing int) returns timestamptz
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

create or replace function {schema}.keep_gate_v1(g {schema}.gate, l jsonb) returns void language sql as $$
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
create or replace function {schema}.take_gates_v1(p_names text[]) returns text[] language plpgsql
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
