-- oldest speaking: 9

-- Tasks that wait for others, and flows: the rules of taskq.domain.workflow and taskq.domain.flow.

-- What has not ended yet: an edge goes with the end of its parent.
create table {schema}.edge (
    parent uuid not null, child uuid not null, on_failure text not null,  -- c cancel, r run, f fail
    primary key (parent, child)
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000, autovacuum_vacuum_cost_delay = 0);
-- Parents that have ended with more children than one statement tells.
create table {schema}.outbox (parent uuid primary key, state smallint not null);

create table {schema}.flow (
    id uuid primary key,
    kind text not null,
    name text not null,
    spec bytea not null,
    callbacks jsonb not null,               -- {callback: a message as for enqueue_json_v1}
    is_held boolean not null,
    retention float8 not null,
    created_at timestamptz not null default clock_timestamp(),
    closed_at timestamptz,
    ended_at timestamptz,
    cancel_reason text,
    is_partial boolean not null default false,  -- it was cancelled before it was closed
    cancelled_to bigint,                    -- the member up to which its cancel has come; null: there is nothing to cancel
    fired text[] not null default '{}',
    is_owed boolean not null default false  -- a callback found no room
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
create index flow_browse on {schema}.flow (created_at, id);
create index flow_held on {schema}.flow (created_at) where is_held and closed_at is null;
create index flow_left on {schema}.flow (id) where is_owed or cancelled_to is not null;
-- How many members it has, and how many have ended how.
create table {schema}.tally (
    flow uuid primary key, total bigint not null default 0, completed bigint not null default 0,
    failed bigint not null default 0, cancelled bigint not null default 0,
    changed_at timestamptz not null default clock_timestamp()
) with (fillfactor = 20, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
create table {schema}.member (
    flow uuid, no bigint generated always as identity, id uuid not null, primary key (flow, no)
);

-- Which messages do not find the other tasks of which they speak: place → 'o', their flow is over, or 'n:' and a parent of
-- which there is no record. What is known already is not asked.
create function {schema}.unrelated_v1(p_ids text[], p_specials jsonb, p_told jsonb, p_now timestamptz) returns jsonb
language plpgsql set enable_hashjoin = on as $$
declare
    v_unknown uuid[];
    v_over uuid[];
    v_new jsonb;
    v_told jsonb := '{}';
begin
    v_over := array(select distinct (s.value ->> 7)::uuid from jsonb_each(p_specials) s where s.value ->> 7 is not null
        except select f.id from {schema}.flow f, jsonb_each(p_specials) s
            where f.id = (s.value ->> 7)::uuid and f.cancel_reason is null and f.ended_at is null);
    -- Its own flow a message may have for a parent; that one is asked for above.
    v_unknown := array(select distinct substr(x.text, 2)::uuid from jsonb_each(p_specials) s,
            unnest(string_to_array(s.value ->> 6, ',')) x(text)
            where substr(x.text, 2) is distinct from s.value ->> 7);
    v_unknown := array(select u from unnest(v_unknown) u where not exists (select 1 from {schema}.task t where t.id = u));
    v_unknown := array(select u from unnest(v_unknown) u where not exists (select 1 from {schema}.record r where r.id = u));
    while v_unknown <> '{}' or v_over <> '{}' loop
        with s as materialized (
            select x.key, x.key::int as ord, p_ids[x.key::int]::uuid as id, x.value ->> 6 as parents,
                    (x.value ->> 7)::uuid as flow
                from jsonb_each(p_specials) x
                where (x.value ->> 6 is not null or x.value ->> 7 is not null) and not (p_told || v_told) ? x.key
        ), e as (
            select s.key, s.ord, substr(x.text, 2)::uuid as parent, x.no
                from s, unnest(string_to_array(s.parents, ',')) with ordinality x(text, no)
                where substr(x.text, 2)::uuid = any(v_unknown) and substr(x.text, 2)::uuid is distinct from s.flow
        ), coming as (  -- those before it in this call that are not refused, and whose unique key no other task holds
            select c.id::uuid as id, min(c.ord) as ord from unnest(p_ids) with ordinality c(id, ord)
                where coalesce((p_told || v_told) ->> c.ord::text, 'd') in ('d', 'r')
                group by 1
        ), missing as (
            select distinct on (e.key) e.key, e.parent from e left join coming c on c.id = e.parent
                where c.id is null or c.ord >= e.ord order by e.key, e.no
        )
        select jsonb_object_agg(s.key, case when m.key is not null then 'n:' || m.parent else 'o' end) into v_new
            from s left join missing m on m.key = s.key
            where (m.key is not null or s.flow = any(v_over))
                and not exists (select 1 from {schema}.record r where r.id = s.id)
                and not exists (select 1 from {schema}.tombstone x where x.id = s.id and x.forget_at > p_now);
        exit when v_new is null;
        v_told := v_told || v_new;  -- whoever waits for one of them does not find it either
    end loop;
    return v_told;
end $$;

-- Tell those with whom new tasks have to do of them.
create function {schema}.relate_v1(p_ids uuid[], p_now timestamptz) returns void language plpgsql
set enable_seqscan = off as $$
declare
    v_members uuid[];
    v_flows uuid[];
    v_numbers bigint[];
begin
    select array_agg(t.id order by u.ord), array_agg(t.flow order by u.ord) into v_members, v_flows
        from unnest(p_ids) with ordinality u(id, ord) join {schema}.task t on t.id = u.id where t.flow is not null;
    perform {schema}.bind_v1(p_ids, false, p_now, coalesce(v_flows, '{}'));
    if v_members is null then
        return;
    end if;
    with came as (
        insert into {schema}.member (flow, id)
            select u.flow, u.id from unnest(v_flows, v_members) with ordinality u(flow, id, ord) order by u.ord
            returning flow, no
    ) select array_agg(flow), array_agg(no) into v_flows, v_numbers from came;
    -- One that was cancelled meanwhile cancels these too.
    update {schema}.flow f set cancelled_to = least(f.cancelled_to, n.first - 1) from (
            select u.flow, min(u.no) as first from unnest(v_flows, v_numbers) u(flow, no) group by u.flow) n
        where f.id = n.flow and f.cancel_reason is not null;
end $$;

-- Have tasks that are blocked wait for their parents; p_again: a parent that has ended holds up nobody, however it has.
-- p_flows: the flows that have new members among them, one for each. They are counted with those that end here, for a flow
-- that has more who have ended than members would be over.
create function {schema}.bind_v1(p_ids uuid[], p_again boolean, p_now timestamptz, p_flows uuid[]) returns void language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
declare
    v_children uuid[];
    v_parents uuid[];
    v_policies text[];
    v_left uuid[];
    v_live uuid[] := '{}';
    v_ended uuid[] := '{}';
    v_states smallint[] := '{}';
    v_new smallint[] := array_fill(0::smallint, array[cardinality(p_flows)]);
begin
    select array_agg(x.child), array_agg(x.parent), array_agg(x.policy) into v_children, v_parents, v_policies from (
        select distinct on (t.id, substr(u.text, 2)) t.id as child, substr(u.text, 2)::uuid as parent,
                left(u.text, 1) as policy
            from {schema}.task t, unnest(string_to_array(t.parents, ',')) u(text)
            where t.id = any(p_ids) and t.state = 3 and t.parents is not null) x;
    if v_children is null then
        perform {schema}.count_members_v1(v_new, p_flows, p_now);
        return;
    end if;
    v_left := array(select distinct x from unnest(v_parents) x);
    loop
        -- Who ends now waits, and then finds the edge. Those that are blocked come last, as wherever one is locked.
        perform 1 from {schema}.task t where t.id = any(v_left) and t.state <> 3 order by t.id for no key update;
        perform 1 from {schema}.task t where t.id = any(v_left) and t.state = 3 order by t.id for no key update;
        -- And what was let go between the two.
        perform 1 from {schema}.task t where t.id = any(v_left) order by t.id for no key update;
        perform 1 from {schema}.flow f where f.id = any(v_left) order by f.id for share;
        v_live := v_live || array(select t.id from {schema}.task t where t.id = any(v_left)
            union all select f.id from {schema}.flow f where f.id = any(v_left) and f.closed_at is null);
        update {schema}.task t set has_children = true where t.id = any(v_live) and t.has_children is null;
        exit when p_again;
        select v_ended || coalesce(array_agg(x.id), '{}'), v_states || coalesce(array_agg(x.state), '{}')
            into v_ended, v_states from (
                select r.id, r.state from {schema}.record r where r.id = any(v_left) and r.state >= 10
                union all select f.id, case when f.cancel_reason is null then 10 else 13 end from {schema}.flow f
                    where f.id = any(v_left) and f.closed_at is not null) x;
        -- One that was redriven between the two looks is in neither.
        v_left := array(select x from unnest(v_left) x where x <> all(v_live) and x <> all(v_ended)
            and exists (select 1 from {schema}.record r where r.id = x));
        exit when v_left = '{}';
    end loop;
    insert into {schema}.edge (parent, child, on_failure)
        select u.parent, u.child, u.policy from unnest(v_children, v_parents, v_policies) u(child, parent, policy)
            where not p_again or u.parent = any(v_live)
        on conflict do nothing;
    update {schema}.task t set waits = n.number from (
            select u.child, count(*) filter (where not p_again or u.parent = any(v_live)) as number
                from unnest(v_children, v_parents) u(child, parent) group by u.child) n
        where t.id = n.child;
    if p_again then
        perform {schema}.met_v1(array(select distinct c from unnest(v_children) c), array(
            select 0 from (select distinct c from unnest(v_children) c) x), p_now);
        return;
    end if;
    if v_ended <> '{}' then
        perform {schema}.tell_v1(v_ended, v_states, v_new, p_flows, p_now);
    else
        perform {schema}.count_members_v1(v_new, p_flows, p_now);
    end if;
end $$;

-- Edges to these tasks have gone, so many of each: those that have none left are let go.
create function {schema}.met_v1(p_children uuid[], p_numbers bigint[], p_now timestamptz) returns void language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
declare
    v_queues text[];
begin
    with told as (
        update {schema}.task t set waits = w.waits,
                seq = case when w.waits > 0 then t.seq else nextval('{schema}.place') end,
                state = case when w.waits > 0 then 3 when w.due_at > p_now then 1 else 0 end,
                ready_at = case when w.waits > 0 or w.due_at > p_now then null else p_now end,
                due_at = case when w.waits <= 0 and w.due_at > p_now then w.due_at end
            from (select k.id, k.waits - n.number as waits,
                        coalesce(k.eta, p_now + k.delay * interval '1 second') as due_at
                    from unnest(p_children, p_numbers) n(id, number) join {schema}.task k on k.id = n.id
                    where k.state = 3 order by k.id for update of k) w
            where t.id = w.id
            returning t.queue, case t.state when 0 then 20 + t.priority else t.state end as state
    ), freed as (
        select x.queue, x.state, count(*) as number from told x where x.state <> 3 group by 1, 2
    ), counted as (
        insert into {schema}.change (queue, state, number)
            select f.queue, k.state, k.number from freed f
                cross join lateral (values (3, -f.number), (f.state, f.number)) k(state, number)
    ) select array_agg(distinct queue) into v_queues from freed;
    if v_queues is not null then
        perform pg_notify({literal}, 'q:' || q) from unnest(v_queues) q;
    end if;
end $$;

-- Tell children that these parents have ended, and theirs where that ends them, up to {joins_per_step}; the rest is noted.
-- Then the members among those that have ended are counted, those of p_member_states and p_member_flows too.
-- Returns how many children were told.
create function {schema}.tell_v1(
    p_parents uuid[], p_states smallint[], p_member_states smallint[], p_member_flows uuid[], p_now timestamptz
) returns int language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
declare
    v_told int := 0;
    v_met uuid[];
    v_numbers bigint[];
    v_failed uuid[];
    v_whys text[];
    v_policies text[];
    v_ended text[] := '{}';
    t {schema}.task;
begin
    while p_parents <> '{}' loop
        with gone as (
            -- Not joined with the parents: without statistics of these that would be each edge with each of them.
            delete from {schema}.edge e
                where e.parent = any(p_parents) and e.ctid = any(array(select x.ctid from {schema}.edge x
                    where x.parent = any(p_parents) limit {joins_per_step} - v_told))
                returning e.child, e.parent, e.on_failure, p_states[array_position(p_parents, e.parent)] as state
        ), met as (
            select child, count(*) as number from gone where state = 10 or on_failure = 'r' group by child
        ), failed as (
            select distinct on (child) child, on_failure, 'task ' || parent || ', for which it waited, ended as '
                    || (array['completed', 'failed', 'dead', 'cancelled', 'expired'])[state - 9] as why
                from gone where state <> 10 and on_failure <> 'r' order by child, parent
        )
        select v_told + g.number, m.children, m.numbers, f.children, f.whys, f.policies
            into v_told, v_met, v_numbers, v_failed, v_whys, v_policies
            from (select count(*) as number from gone) g, (select array_agg(child) as children, array_agg(number) as numbers from met) m,
                (select array_agg(child order by child) as children, array_agg(why order by child) as whys,
                    array_agg(on_failure order by child) as policies from failed) f;
        if v_told >= {joins_per_step} then
            insert into {schema}.outbox (parent, state) select p.id, p.state from unnest(p_parents, p_states) p(id, state)
                where exists (select 1 from {schema}.edge e where e.parent = p.id) order by p.id on conflict do nothing;
        end if;
        p_parents := '{}';
        p_states := '{}';
        if v_failed is not null then
            perform 1 from {schema}.task k where k.id = any(v_failed || v_met) and k.state = 3 order by k.id for update;
        end if;
        for v_place in 1 .. coalesce(cardinality(v_failed), 0) loop
            select * into t from {schema}.task k where k.id = v_failed[v_place] and k.state = 3 for update;
            continue when not found;
            if v_policies[v_place] = 'c' then
                t.state := 13;
                perform {schema}.end_v1(t, v_whys[v_place], null, p_now);
            else
                t.state := 11;
                t.failure := convert_to(
                    json_build_object('type', 'ParentFailed', 'message', v_whys[v_place])::text, 'UTF8');
                perform {schema}.end_v1(t, '{parent_failed}', null, p_now);
            end if;
            v_ended := v_ended || t.id::text;
            if t.has_children then
                p_parents := p_parents || t.id;
                p_states := p_states || t.state;
            end if;
            if t.flow is not null then
                p_member_states := p_member_states || t.state;
                p_member_flows := p_member_flows || t.flow;
            end if;
        end loop;
        if v_met is not null then
            perform {schema}.met_v1(v_met, v_numbers, p_now);
        end if;
    end loop;
    if v_ended <> '{}' then
        perform pg_notify({literal}, 'f:' || id) from unnest(v_ended[1:100]) id;
    end if;
    if p_member_flows <> '{}' then
        perform {schema}.count_members_v1(p_member_states, p_member_flows, p_now);
    end if;
    return v_told;
end $$;

-- Members of flows have ended; those of state 0 have come.
create function {schema}.count_members_v1(p_states smallint[], p_flows uuid[], p_now timestamptz) returns void
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
declare
    n record;
    y {schema}.tally;
begin
    for n in select u.flow, count(*) filter (where u.state = 10) as completed,
            count(*) filter (where u.state in (11, 12, 14)) as failed, count(*) filter (where u.state = 13) as cancelled,
            count(*) filter (where u.state = 0) as new
        from unnest(p_states, p_flows) u(state, flow) where u.flow is not null group by u.flow order by u.flow
    loop
        update {schema}.tally k set total = k.total + n.new, completed = k.completed + n.completed, failed = k.failed + n.failed,
                cancelled = k.cancelled + n.cancelled, changed_at = p_now
            where k.flow = n.flow returning * into y;
        continue when not found;
        if y.total = y.completed + y.failed + y.cancelled
            or n.failed + n.cancelled > 0 and y.failed + y.cancelled = n.failed + n.cancelled
        then
            perform {schema}.look_v1(n.flow, p_now);
        end if;
    end loop;
end $$;

-- Members that had ended begin anew.
create function {schema}.count_back_v1(p_flows uuid[], p_states smallint[]) returns void language plpgsql
set enable_seqscan = off as $$
declare
    n record;
begin
    for n in select u.flow, count(*) filter (where u.state = 13) as cancelled, count(*) as number
        from unnest(p_flows, p_states) u(flow, state) group by u.flow order by u.flow
    loop
        update {schema}.tally k set cancelled = k.cancelled - n.cancelled,
                failed = k.failed - (n.number - n.cancelled), changed_at = clock_timestamp()
            where k.flow = n.flow;
        update {schema}.flow f set ended_at = null where f.id = n.flow and f.ended_at is not null;
    end loop;
end $$;

-- Tasks have ended, in this transaction at p_now: tell whom it concerns.
create function {schema}.concerned_v1(p_ids uuid[], p_now timestamptz) returns void language sql
set enable_seqscan = off as $$
    select {schema}.tell_v1(
            coalesce(array_agg(x.id) filter (where x.has_children), '{}'),
            coalesce(array_agg(x.state) filter (where x.has_children), '{}'),
            coalesce(array_agg(x.state) filter (where x.flow is not null), '{}'),
            coalesce(array_agg(x.flow) filter (where x.flow is not null), '{}'), p_now)
        from (select f.id, f.state, f.has_children, f.flow from {schema}.finished f
                where f.id = any(p_ids) and f.completed_at = p_now
            union all
            select d.id, d.state, d.has_children, d.flow from {schema}.dead d
                where d.id = any(p_ids) and d.completed_at = p_now) x
$$;

-- See whether a flow has ended, and enqueue the callbacks that are due (taskq.domain.flow.due_callbacks).
create function {schema}.look_v1(p_flow uuid, p_now timestamptz) returns void language plpgsql
set enable_seqscan = off as $$
declare
    f {schema}.flow;
    y {schema}.tally;
    v_is_over boolean;
    v_due text[] := '{}';
    v_callback text;
    v_message text;
begin
    select * into f from {schema}.flow k where k.id = p_flow for update;
    if not found then
        return;
    end if;
    select * into y from {schema}.tally k where k.flow = p_flow;
    v_is_over := f.closed_at is not null and y.total = y.completed + y.failed + y.cancelled;
    f.ended_at := case when v_is_over then coalesce(f.ended_at, p_now) end;
    if y.failed + y.cancelled > 0 and f.cancel_reason is null then
        v_due := v_due || 'failure'::text;
    end if;
    if v_is_over and y.completed = y.total and not f.is_partial then
        v_due := v_due || 'success'::text;
    end if;
    if v_is_over then
        v_due := v_due || 'complete'::text;
    end if;
    f.is_owed := false;
    foreach v_callback in array v_due loop
        continue when v_callback = any(f.fired);
        v_message := f.callbacks ->> v_callback;
        if v_message is not null and left({schema}.enqueue_json_v1(v_message, false), 1) = any('{f,q}') then
            f.is_owed := true;
        else
            f.fired := f.fired || v_callback;
        end if;
    end loop;
    update {schema}.flow k set ended_at = f.ended_at, is_owed = f.is_owed, fired = f.fired where k.id = p_flow
        and (k.ended_at, k.is_owed, k.fired) is distinct from (f.ended_at, f.is_owed, f.fired);
end $$;

-- Store a flow without members; returns whether it is new.
create function {schema}.flow_create_v1(
    p_id uuid, p_kind text, p_name text, p_spec bytea, p_callbacks jsonb, p_is_held boolean, p_retention float8
) returns boolean language plpgsql as $$
begin
    insert into {schema}.flow (id, kind, name, spec, callbacks, is_held, retention)
        values (p_id, p_kind, p_name, p_spec, p_callbacks, p_is_held, p_retention) on conflict do nothing;
    if not found then
        return false;
    end if;
    insert into {schema}.tally (flow) values (p_id);
    return true;
end $$;

-- No more members come from outside; returns whether it is known.
create function {schema}.flow_close_v1(p_id uuid) returns boolean language plpgsql set enable_seqscan = off as $$
declare
    v_now timestamptz := clock_timestamp();
begin
    perform 1 from {schema}.tally y where y.flow = p_id for update;
    if not found then
        return false;
    end if;
    update {schema}.flow f set closed_at = v_now where f.id = p_id and f.closed_at is null;
    if found then
        perform {schema}.tell_v1(array[p_id], '{10}', '{}', '{}', v_now);
    end if;
    perform {schema}.look_v1(p_id, v_now);
    return true;
end $$;

-- Note that a flow is to be cancelled; returns whether it is known, has not ended, and is open where it must be.
create function {schema}.flow_cancel_v1(p_id uuid, p_reason text, p_is_to_be_open boolean) returns boolean
language plpgsql set enable_seqscan = off as $$
begin
    perform 1 from {schema}.tally y where y.flow = p_id for update;
    perform 1 from {schema}.flow f where f.id = p_id and f.ended_at is null
        and (f.closed_at is null or not p_is_to_be_open) for update;
    if not found then
        return false;
    end if;
    update {schema}.flow f set cancel_reason = coalesce(f.cancel_reason, p_reason),
            is_partial = f.is_partial or f.closed_at is null,
            closed_at = coalesce(f.closed_at, clock_timestamp()),
            cancelled_to = 0  -- also where it was cancelled before: members may have been redriven since
        where f.id = p_id;
    delete from {schema}.edge e where e.parent = p_id;
    delete from {schema}.outbox o where o.parent = p_id;
    perform {schema}.look_v1(p_id, clock_timestamp());
    return true;
end $$;

-- Take back that a flow was cancelled; returns whether it is known.
create function {schema}.flow_reopen_v1(p_id uuid) returns boolean language plpgsql set enable_seqscan = off as $$
begin
    perform 1 from {schema}.tally y where y.flow = p_id for update;
    if not found then
        return false;
    end if;
    update {schema}.flow f set cancel_reason = null, cancelled_to = null where f.id = p_id;
    perform {schema}.look_v1(p_id, clock_timestamp());
    return true;
end $$;

-- Go on with what is left of ends and flows; returns how much was done.
create function {schema}.relay_v1(p_limit int, p_never_closed float8, p_abandoned text) returns int language plpgsql
set enable_seqscan = off as $$
declare
    v_now timestamptz := clock_timestamp();
    v_done int := 0;
    v_outbox {schema}.outbox;
    f {schema}.flow;
    v_ids uuid[];
    v_last bigint;
begin
    delete from {schema}.outbox o where o.parent = (
        select x.parent from {schema}.outbox x order by x.parent limit 1 for update skip locked) returning * into v_outbox;
    if found then
        v_done := {schema}.tell_v1(array[v_outbox.parent], array[v_outbox.state], '{}', '{}', v_now) + 1;
    end if;
    -- The flows are not locked here: their tasks come first.
    select * into f from {schema}.flow k where k.is_held and k.closed_at is null
        and k.created_at <= v_now - p_never_closed * interval '1 second' order by k.created_at limit 1;
    if found then
        perform {schema}.flow_cancel_v1(f.id, p_abandoned, true);
        return v_done + 1;
    end if;
    select * into f from {schema}.flow k where k.cancelled_to is not null order by k.id limit 1;
    if found then
        select array_agg(m.id order by m.id), max(m.no) into v_ids, v_last from (
            select x.id, x.no from {schema}.member x where x.flow = f.id and x.no > f.cancelled_to
                order by x.no limit {joins_per_step}) m;
        if v_ids is not null then
            perform {schema}.cancel_v1(v_ids, f.cancel_reason, gen_random_uuid());
        end if;
        update {schema}.flow k set cancelled_to = v_last  -- null where there are no more
            where k.id = f.id and k.cancelled_to = f.cancelled_to;
        return v_done + 1;
    end if;
    for f in select * from {schema}.flow k where k.is_owed order by k.id limit p_limit for update skip locked loop
        perform {schema}.look_v1(f.id, v_now);
        if not (select k.is_owed from {schema}.flow k where k.id = f.id) then
            v_done := v_done + 1;
        end if;
    end loop;
    return v_done;
end $$;

-- Forget a flow of which nothing is pending; returns whether it was there.
create function {schema}.flow_forget_v1(p_id uuid) returns boolean language plpgsql set enable_seqscan = off as $$
begin
    delete from {schema}.tally y where y.flow = p_id and y.total = y.completed + y.failed + y.cancelled;
    if not found then
        return false;
    end if;
    delete from {schema}.flow f where f.id = p_id;
    delete from {schema}.member m where m.flow = p_id;
    return true;
end $$;

-- Forget flows whose time is over, and members of those that are gone, up to p_limit; returns how many of the kind of
-- which most went.
create function {schema}.forget_flows_v1(p_limit int) returns int language plpgsql set enable_seqscan = off as $$
declare
    v_flow uuid;
    v_number int := 0;
begin
    for v_flow in select f.id from {schema}.flow f join {schema}.tally y on y.flow = f.id
        where y.total = y.completed + y.failed + y.cancelled and f.cancelled_to is null
            and greatest(y.changed_at, f.created_at, f.closed_at)
                + least(f.retention, 1e10) * interval '1 second' <= clock_timestamp()
        order by f.created_at limit p_limit for update of y skip locked
    loop
        delete from {schema}.member m where (m.flow, m.no) in (
            select x.flow, x.no from {schema}.member x where x.flow = v_flow order by x.no limit p_limit);
        get diagnostics v_number = row_count;
        exit when v_number >= p_limit;
        delete from {schema}.tally y where y.flow = v_flow;
        delete from {schema}.flow f where f.id = v_flow;
    end loop;
    return v_number;
end $$;
