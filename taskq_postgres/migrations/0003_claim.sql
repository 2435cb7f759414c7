-- oldest speaking: 7

-- Fetch. Plans are pinned: statistics taken while the queue was empty, or an ANALYZE in mid-run, would otherwise turn
-- the walk along a lane into a sort of all of it.
create type {schema}.delivery as (
    place bigint, id uuid, name text, body bytea, queue text, priority smallint, fence bigint, attempt int,
    lost_leases int, worker text, max_lost_leases int, dead_letter boolean, tenant text, age float8,
    limited boolean, waited float8, seq bigint, plain boolean, next_due float8, ended uuid[], counted text[]);

-- Make due tasks ready, in the order of due_at; p_queues null: those of all queues. Returns how many.
create function {schema}.promote_v1(p_queues text[], p_limit int) returns int language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off
set enable_hashjoin = off set enable_mergejoin = off as $$
declare
    v_now timestamptz := clock_timestamp();
    v_queue text;
    v_moved int := 0;
    v_some int;
begin
    if p_queues is null then
        with recursive hop(queue) as (
            (select t.queue from {schema}.task t where t.due_at is not null order by t.queue, t.due_at, t.seq limit 1)
            union all
            select (select t.queue from {schema}.task t where t.due_at is not null and t.queue > h.queue
                order by t.queue, t.due_at, t.seq limit 1) from hop h where h.queue is not null
        ) select array_agg(queue) into p_queues from hop where queue is not null;
    end if;
    foreach v_queue in array coalesce(p_queues, '{}') loop
        with due as materialized (
            select t.ctid, t.state from {schema}.task t where t.queue = v_queue and t.due_at <= v_now
                order by t.queue, t.due_at, t.seq limit p_limit - v_moved for no key update skip locked
        ), placed as materialized (select ctid, state, nextval('{schema}.place') as seq from due
        ), moved as (
            update {schema}.task t set state = 0, due_at = null, ready_at = v_now, seq = p.seq
                from placed p where t.ctid = p.ctid returning p.state, t.priority
        ), counted as (
            insert into {schema}.change (queue, state, number) select v_queue, k.state, sum(k.number)
                from moved m cross join lateral (values (m.state::int, -1), (20 + m.priority, 1)) k(state, number)
                group by k.state
        ) select count(*) into v_some from moved;
        v_moved := v_moved + v_some;
        exit when v_moved >= p_limit;
    end loop;
    return v_moved;
end $$;

-- The lanes of a queue that belong to a group and hold a task, pending or running.
create function {schema}.groups_v1(p_queue text, out p_priorities smallint[], out p_groups text[]) language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off
set enable_sort = off as $$
begin
    with recursive hop(priority, lane_group) as (
        (select t.priority, t.lane_group from {schema}.task t
            where t.queue = p_queue and t.state = 0 and not t.front and t.lane_group <> ''
            order by t.queue, t.priority, t.lane_group limit 1)
        union all
        select n.priority, n.lane_group from hop h cross join lateral (
            select t.priority, t.lane_group from {schema}.task t
                where t.queue = p_queue and t.state = 0 and not t.front and t.lane_group <> ''
                    and (t.priority, t.lane_group) > (h.priority, h.lane_group)
                order by t.queue, t.priority, t.lane_group limit 1) n
    ) select array_agg(priority), array_agg(lane_group) into p_priorities, p_groups from hop;
end $$;

-- Lock up to p_limit tasks of lanes that differ in their group, priority by priority; the groups of one take turns, those
-- of p_noisy behind the others.
-- Returns their row ids in order, p_served with the groups that were served last.
create function {schema}.take_turns_v1(
    p_queue text, p_priorities smallint[], p_groups text[], p_after bigint[], p_limit int, p_now timestamptz,
    p_taken tid[], p_noisy text[], inout p_served text[], out p_rows tid[]
) language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off
set enable_hashjoin = off set enable_mergejoin = off as $$
declare
    v_rows tid[];
    v_groups text[];
    v_is_last boolean;
begin
    p_rows := '{}';
    for p in reverse 3..0 loop
        v_is_last := false;
        loop
            exit when cardinality(p_rows) >= p_limit;
            select array_agg(r.ctid), array_agg(r.lane_group) into v_rows, v_groups from (
                -- In the order of the turns without a sort, so that no more rows are locked than are taken.
                select s.ctid, l.lane_group from (
                    select x.lane_group, x.after
                        from unnest(p_priorities, p_groups, p_after) x(priority, lane_group, after)
                        where x.priority = p and (x.lane_group = any(p_noisy)) = v_is_last order by x.lane_group <= p_served[p + 1], x.lane_group offset 0) l
                    cross join lateral (
                        select t.ctid from {schema}.task t
                            where t.queue = p_queue and t.priority = p and t.lane_group = l.lane_group and t.state = 0
                                and not t.front and t.seq > l.after and t.lease_until is null
                                and (t.expires_at is null or t.expires_at > p_now)
                                and t.ctid <> all(p_taken) and t.ctid <> all(p_rows)
                            order by t.queue, t.priority, t.lane_group, t.seq limit 1 for no key update skip locked) s
                limit p_limit - cardinality(p_rows)) r;
            exit when v_rows is null and v_is_last;
            if v_rows is null then
                v_is_last := true;
                continue;
            end if;
            p_rows := p_rows || v_rows;
            p_served[p + 1] := v_groups[cardinality(v_groups)];
        end loop;
    end loop;
end $$;

-- The queues among these whose lanes compete, or may once due tasks are promoted. Their rows of `turn` are made, and
-- locked in the order of the names, before the claim holds any task: two claims that name the same queues in another
-- order would else wait for each other. (This and the next two are parts of claim_v1 and are planned under its
-- settings.)
create function {schema}.lock_turns_v1(p_queues text[], p_after bigint[], p_now timestamptz, p_aged timestamptz)
returns text[] language plpgsql as $$
declare
    v_queues text[];
begin
    -- Sub-selects with a limit, because the planner may make a hash of a whole index out of an `exists`.
    select array_agg(u.queue) into v_queues from unnest(p_queues) with ordinality u(queue, ord)
        where (select true from {schema}.task t
                where t.queue = u.queue and t.state = 0 and not t.front and t.lane_group <> '' limit 1)
            or (select min(h.ready_at) < p_aged and count(h.ready_at) + (
                    select count(*) from (select 1 from {schema}.task t
                        where t.queue = u.queue and t.due_at <= p_now limit 1) d) > 1
                from generate_series(0, 3) p cross join lateral (
                    select t.ready_at from {schema}.task t
                        where t.queue = u.queue and t.priority = p::smallint and t.lane_group = '' and t.state = 0
                            and not t.front and t.seq > p_after[u.ord * 4 - 3 + p] and t.lease_until is null
                        order by t.queue, t.priority, t.lane_group, t.seq limit 1) h)
            or (select true from (
                    select t.lane_group from {schema}.task t where t.queue = u.queue and t.due_at <= p_now
                        order by t.queue, t.due_at, t.seq limit {promote_per_fetch}) d
                where d.lane_group <> '' limit 1)
            or (select true from {schema}.task t where t.state = 5 and t.queue = u.queue limit 1)
            or (select true from {schema}.room k where k.queue = u.queue and k.opens_at <= p_now limit 1);
    if v_queues is not null then
        insert into {schema}.turn (queue) select distinct q from unnest(v_queues) q order by q on conflict do nothing;
        perform 1 from {schema}.turn k where k.queue = any(v_queues) order by k.queue for no key update;
    end if;
    return v_queues;
end $$;

-- Lock tasks of a front lane, waiting for who holds one: it would be odd to pass over a task that stays where it is (a
-- late settle, a child enqueued by a late run). In the order of their ids, as everybody who waits does; returns their
-- row ids in the order of the lane.
create function {schema}.wait_for_front_v1(p_queue text, p_limit int, p_now timestamptz) returns tid[]
language plpgsql as $$
declare
    v_ids uuid[];
    v_rows tid[];
begin
    v_ids := array(select t.id from {schema}.task t
        where t.queue = p_queue and t.front and (t.expires_at is null or t.expires_at > p_now)
        order by t.queue, t.priority desc, t.seq limit p_limit);
    with held as materialized (
        select t.ctid, t.priority, t.seq from {schema}.task t where t.id = any(v_ids) and t.front
            order by t.id for no key update
    ) select array_agg(h.ctid order by h.priority desc, h.seq) into v_rows from held h;
    return coalesce(v_rows, '{}');
end $$;

-- Lock up to p_limit over-aged tasks of these lanes, those first that were ready first. What is picked is locked after
-- it was picked, so that nobody is kept from a task that is not taken.
create function {schema}.take_aged_v1(
    p_queue text, p_priorities smallint[], p_groups text[], p_after bigint[], p_limit int, p_now timestamptz,
    p_aged timestamptz
) returns tid[] language plpgsql as $$
begin
    return array(
        with picked as materialized (
            select s.ctid, s.ready_at, s.seq
                from unnest(p_priorities, p_groups, p_after) l(priority, lane_group, after) cross join lateral (
                    select t.ctid, t.ready_at, t.seq from {schema}.task t
                        where t.queue = p_queue and t.priority = l.priority and t.lane_group = l.lane_group
                            and t.state = 0 and not t.front and t.seq > l.after and t.lease_until is null
                            and (t.expires_at is null or t.expires_at > p_now) and t.ready_at < p_aged
                        order by t.queue, t.priority, t.lane_group, t.seq limit p_limit) s
                order by s.ready_at, s.seq limit p_limit)
        select t.ctid from picked k join {schema}.task t on t.ctid = k.ctid and t.state = 0 and t.lease_until is null
            order by k.ready_at, k.seq for no key update of t skip locked);
end $$;

-- Claim up to p_limit tasks of these queues. p_after: for each queue, of the lanes of priorities 0 to 3 without a
-- group, the place after which to look. p_older: this worker's claims up to that number are not of its newest request.
-- The last row has no id; it tells the number of the claim, in how many seconds the next task becomes due, and which
-- tasks expired.
--
-- It waits for others only while it holds no task: for rows of `turn`, then in the front lane of its first queue.
create function {schema}.claim_v1(
    p_queues text[], p_limit int, p_worker text, p_request text, p_lease float8, p_aging float8,
    p_after bigint[], p_older bigint
) returns setof {schema}.delivery language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off
set enable_hashjoin = off set enable_mergejoin = off as $$
#variable_conflict use_column
declare
    v_now timestamptz;
    v_until timestamptz;
    v_aged timestamptz;
    v_queue text;
    v_index bigint;
    v_due timestamptz;
    v_no bigint;
    v_request text;
    v_last {schema}.delivery;
    v_turns text[];
    v_is_front boolean;
    v_rows tid[];
    v_before int;
    v_taken tid[];
    v_priorities smallint[];
    v_groups text[];
    v_after bigint[];
    v_more record;
    v_turn {schema}.turn;
    v_quota int;
    v_is_turn boolean;
    v_is_contended boolean;
    v_ended uuid[];
    v_workers int;
    v_rate jsonb;
    v_free int;
    v_opens timestamptz;
    v_next timestamptz;
    v_limit int;  -- how many rows there may be, once those of this queue are there
    v_has_cleared boolean;
    v_has_rooms boolean;
    v_reach int;  -- how many are looked for
    v_parked int;
    v_passed int;  -- rows that have passed their gates
    v_aged_count int;
    v_more_rows tid[];
    v_looked_at int;  -- rows of which it is known whether they have gates
    v_left tid[];  -- rows that stay where they are, because somebody is at their gates
    v_passed_over text[] := '{}';  -- queues with such: no cursor may pass them
    v_is_limited boolean;
    v_has_starts boolean := false;
    v_counted text[] := '{}';  -- queues whose running tasks are counted
    v_has_quotas boolean;  -- something is set for a tenant that limits its tasks
    v_shut text[];
    v_noisy text[];
begin
    perform set_config('synchronous_commit', 'off', true);  -- a claim that is lost is handed out once more
    -- A request that is said again waits here for its first saying.
    perform pg_advisory_xact_lock(hashtextextended({literal} || p_worker, 0));
    -- More than two at once only get into each other's way.
    perform pg_advisory_xact_lock(
        hashtext({literal}), (hashtext(p_queues[1]) & 268435455) * 4 + 2 + pg_backend_pid() % 2);
    v_now := clock_timestamp();
    v_until := v_now + p_lease * interval '1 second';
    v_aged := v_now - p_aging * interval '1 second';
    select c.no, c.request into v_no, v_request from {schema}.claim c where c.worker = p_worker and c.no > p_older
        order by c.worker desc, c.no desc limit 1;
    if v_request = p_request then
        return query select * from {schema}.claim_again_v1(p_worker, v_no, v_until);
        v_last := {schema}.due_v1(p_queues);
        v_last.seq := v_no;
        return next v_last;
        return;
    end if;
    v_no := nextval('{schema}.claim_number');

    v_has_quotas := exists (select 1 from {schema}.tenant k where k.gates is not null);
    if v_has_quotas then  -- they stay as they are until the end
        perform pg_advisory_xact_lock_shared(hashtextextended({literal}, 6));
    end if;
    v_turns := {schema}.lock_turns_v1(p_queues, p_after, v_now, v_aged);
    for v_queue, v_index, v_workers, v_rate in
        select u.queue, u.ord, k.workers, k.rate from unnest(p_queues) with ordinality u(queue, ord)
            left join {schema}.queue k on k.name = u.queue
            where k.paused_reason is null or k.paused_until <= v_now
            order by u.ord
    loop
        v_before := coalesce(cardinality(v_rows), 0);
        v_passed := v_before;
        v_left := '{}';
        v_is_turn := false;
        v_turn := null;
        v_noisy := null;
        v_limit := p_limit;
        if v_workers is not null or v_rate is not null then
            select q.p_free, q.p_opens into v_free, v_opens
                from {schema}.queue_room_v1(v_queue, v_workers, v_rate, v_now) q;
            v_limit := least(p_limit, v_before + v_free);
            if v_free = 0 and {schema}.has_pending_v1(v_queue, v_now) then
                v_next := least(v_next, v_opens);
            end if;
            v_counted := v_counted || case when v_workers is null then '{}' else array[v_queue] end;
        end if;
        select exists (select 1 from {schema}.task t where t.queue = v_queue and t.front),
                exists (select 1 from {schema}.room k where k.queue = v_queue)
            into v_is_front, v_has_rooms;
        if v_rows is null then  -- the first queue
            v_rows := case when v_is_front then {schema}.wait_for_front_v1(v_queue, v_limit, v_now) else '{}' end;
            perform 1 from {schema}.task t where t.expires_at <= v_now and t.lease_until is null
                order by t.expires_at limit 1;
            if found then
                v_ended := {schema}.expire_v1(100);
            end if;
        end if;
        select t.due_at into v_due from {schema}.task t where t.queue = v_queue and t.due_at is not null
            order by t.queue, t.due_at, t.seq limit 1;
        if v_due <= v_now then
            perform {schema}.promote_v1(array[v_queue], {promote_per_fetch});
        end if;
        continue when cardinality(v_rows) >= v_limit and not v_is_front;
        for v_round in 1..{gate_rounds} loop
            if v_has_rooms and exists (select 1 from {schema}.room k where k.queue = v_queue and k.opens_at <= v_now) then
                perform {schema}.let_out_v1(v_queue, v_now, v_aged);
            end if;
            v_is_limited := false;
            v_looked_at := null;
            -- Where limits held back what was found first, it looks further at once.
            v_reach := v_limit + case when v_round > 1 then {gate_reach} else 0 end;
            if v_is_front and cardinality(v_rows) < v_limit then
                v_rows := v_rows || array(select t.ctid from {schema}.task t
                    where t.queue = v_queue and t.front and (t.expires_at is null or t.expires_at > v_now)
                        and t.ctid <> all(v_rows || v_left)
                    order by t.queue, t.priority desc, t.seq limit v_reach - cardinality(v_rows)
                    for no key update skip locked);
            end if;

            if cardinality(v_rows) < v_limit then
                v_priorities := '{3,2,1,0}';
                v_groups := array['', '', '', ''];
                v_after := array[
                    p_after[v_index * 4], p_after[v_index * 4 - 1], p_after[v_index * 4 - 2], p_after[v_index * 4 - 3]];
                v_taken := v_rows[v_before + 1:] || v_left;  -- of an earlier round
                v_aged_count := 0;
                v_is_contended := false;
                v_is_turn := coalesce(v_queue = any(v_turns), false);
                v_has_cleared := v_is_turn and exists (
                    select 1 from {schema}.task t where t.state = 5 and t.queue = v_queue);
                if v_is_turn then
                    v_quota := 0;
                    if v_turn.queue is null then  -- the first round that comes as far as the lanes
                        select * into v_turn from {schema}.turn k where k.queue = v_queue;
                        v_quota := (v_turn.aging_counter + v_limit - v_before) / {aged_every};
                    end if;
                    select g.* into v_more from {schema}.task t, {schema}.groups_v1(v_queue) g
                        where t.queue = v_queue and t.state = 0 and not t.front and t.lane_group <> '' limit 1;
                    if v_more.p_groups is not null then  -- they may be gone in the later snapshot of groups_v1
                        v_noisy := coalesce(
                            v_noisy, {schema}.noisy_v1(v_queue, v_more.p_priorities, v_more.p_groups));
                        v_shut := case when v_has_quotas
                            then {schema}.shut_v1(v_queue, v_now) else '{}' end;
                        if v_shut <> '{}' then
                            select coalesce(array_agg(x.priority), '{}') as p_priorities,
                                    coalesce(array_agg(x.lane_group), '{}') as p_groups into v_more
                                from unnest(v_more.p_priorities, v_more.p_groups) x(priority, lane_group)
                                where x.lane_group <> all(v_shut);
                        end if;
                        v_priorities := v_priorities || v_more.p_priorities;
                        v_groups := v_groups || v_more.p_groups;
                        v_after := v_after || array_fill(0::bigint, array[cardinality(v_more.p_groups)]);
                    end if;
                    -- Over-aged lanes have their share, if lanes compete.
                    select count(h.ready_at) > 1 and min(h.ready_at) < v_aged into v_is_contended
                        from unnest(v_priorities, v_groups, v_after) l(priority, lane_group, after) cross join lateral (
                            select t.ready_at from {schema}.task t
                                where t.queue = v_queue and t.priority = l.priority and t.lane_group = l.lane_group
                                    and t.state = 0 and not t.front and t.seq > l.after and t.lease_until is null
                                order by t.queue, t.priority, t.lane_group, t.seq limit 1) h;
                    if v_has_cleared and v_quota > 0 then
                        v_more_rows := {schema}.take_cleared_v1(
                            v_queue, null, v_aged, least(v_quota, v_reach - cardinality(v_rows)), v_now, v_taken);
                        v_aged_count := cardinality(v_more_rows);
                        v_rows := v_rows || v_more_rows;
                        v_taken := v_taken || v_more_rows;
                    end if;
                    if v_is_contended and v_quota > v_aged_count then
                        v_more_rows := {schema}.take_aged_v1(v_queue, v_priorities, v_groups, v_after,
                            least(v_quota - v_aged_count, v_reach - cardinality(v_rows)), v_now, v_aged);
                        v_rows := v_rows || v_more_rows;
                        v_taken := v_taken || v_more_rows;
                    end if;
                end if;

                if v_has_cleared then
                    for p in reverse 3..0 loop
                        exit when cardinality(v_rows) >= v_reach;
                        v_more_rows := {schema}.take_cleared_v1(
                            v_queue, p, null, v_reach - cardinality(v_rows), v_now, v_taken);
                        v_rows := v_rows || v_more_rows;
                        select * into v_more from {schema}.take_turns_v1(v_queue,
                            array(select x from unnest(v_priorities) x where x = p),
                            array(select g from unnest(v_priorities, v_groups) x(priority, g) where priority = p),
                            array(select a from unnest(v_priorities, v_after) x(priority, a) where priority = p),
                            v_reach - cardinality(v_rows), v_now, v_taken, coalesce(v_noisy, '{}'), v_turn.served);
                        v_rows := v_rows || v_more.p_rows;
                        v_turn.served := v_more.p_served;
                    end loop;
                elsif cardinality(v_groups) > 4 then
                    select * into v_more from {schema}.take_turns_v1(v_queue, v_priorities, v_groups, v_after,
                        v_reach - cardinality(v_rows), v_now, v_taken, coalesce(v_noisy, '{}'), v_turn.served);
                    v_rows := v_rows || v_more.p_rows;
                    v_turn.served := v_more.p_served;
                elsif cardinality(v_rows) < v_limit then
                    -- Strictly by priority. The limit is pipelined: a lane is not touched when those before it filled the
                    -- claim.
                    v_looked_at := cardinality(v_rows);
                    select array_agg(s.ctid), coalesce(bool_or(s.gates is not null), false),
                            coalesce(bool_or(s.unique_until = 'start'), false) or v_has_starts
                        into v_more_rows, v_is_limited, v_has_starts from (
                        select s.* from unnest(v_priorities, v_after) l(priority, after) cross join lateral (
                            select t.ctid, t.gates, t.unique_until from {schema}.task t
                                where t.queue = v_queue and t.priority = l.priority and t.lane_group = '' and t.state = 0
                                    and not t.front and t.seq > l.after and t.lease_until is null
                                    and (t.expires_at is null or t.expires_at > v_now) and t.ctid <> all(v_taken)
                                order by t.queue, t.priority, t.lane_group, t.seq
                                limit v_reach - cardinality(v_rows) for no key update skip locked) s
                        limit v_reach - cardinality(v_rows)) s;
                    v_rows := v_rows || v_more_rows;
                end if;
            end if;
            -- Of those that have limits only some may start; then there is room for others.
            v_parked := 0;
            v_looked_at := coalesce(v_looked_at, cardinality(v_rows));
            if v_looked_at > v_passed then
                select v_is_limited or bool_or(t.gates is not null), v_has_starts or bool_or(t.unique_until = 'start')
                    into v_is_limited, v_has_starts
                    from {schema}.task t where t.ctid = any(v_rows[v_passed + 1:v_looked_at]);
            end if;
            if (v_has_quotas or v_is_limited) and cardinality(v_rows) > v_passed then
                select v_rows[1:v_passed] || s.p_stamped, s.p_limited into v_rows, v_is_limited
                    from {schema}.stamp_v1(v_rows[v_passed + 1:]) s;
            end if;
            if v_is_limited then
                select * into v_more from {schema}.pass_gates_v1(v_rows[v_passed + 1:], v_limit - v_passed, v_now);
                v_rows := v_rows[1:v_passed] || v_more.p_passed;
                v_passed := cardinality(v_rows);
                v_left := v_left || v_more.p_left;
                v_parked := v_more.p_parked + cardinality(v_more.p_left);
            else
                v_rows := v_rows[1:v_limit];
            end if;
            exit when v_parked = 0 or cardinality(v_rows) >= v_limit;
            if v_round = {gate_rounds} and v_more.p_parked > 0 then
                v_next := v_now;  -- there may be more behind
            end if;
        end loop;
        if v_left <> '{}' then  -- whoever is at their gates is gone in a moment
            v_next := least(v_next, v_now + interval '10 milliseconds');
            v_passed_over := v_passed_over || v_queue;
        end if;
        if v_is_turn and cardinality(v_rows) > v_before then
            update {schema}.turn k set served = v_turn.served,
                    aging_counter = (v_turn.aging_counter + cardinality(v_rows) - v_before) % {aged_every}
                where k.queue = v_queue;
        end if;
        if v_rate is not null and cardinality(v_rows) > v_before then
            perform {schema}.spend_v1(v_queue, v_rate, v_now, cardinality(v_rows) - v_before);
            if cardinality(v_rows) >= v_before + v_free and {schema}.has_pending_v1(v_queue, v_now) then
                v_next := least(v_next, v_opens);  -- that is what holds back the rest
            end if;
        end if;
    end loop;

    if v_has_starts then
        perform {schema}.give_keys_back_v1(array_agg(t.unique_key), array_agg(t.id)) from {schema}.task t
            where t.ctid = any(v_rows) and t.unique_until = 'start';
    end if;
    if v_rows <> '{}' then
        return query with taken as (
            update {schema}.task t set lease_until = v_until, started_at = v_now, claim_no = v_no, fence = t.fence + 1,
                    attempt = t.attempt + 1, worker = p_worker, front = false, state = 0
                from unnest(v_rows) with ordinality u(row, place) where t.ctid = u.row
                returning u.place, t.id, t.name, t.body, t.queue, t.priority, t.fence, t.attempt, t.lost_leases,
                    t.worker, t.max_lost_leases, t.dead_letter, t.tenant,
                    extract(epoch from v_now - t.created_at)::float8,
                    case when t.gates is null then false else {schema}.has_own_limits_v1(t.gates) end,
                    greatest(0, extract(epoch from v_now - t.ready_at))::float8,
                    t.seq, t.lane_group = '' and t.queue <> all(v_passed_over), null::float8, null::uuid[], null::text[]
        ), noted as (
            insert into {schema}.claim (worker, request, no, lapses_at, ids)
            select p_worker, p_request, v_no, v_until, array_agg(k.id) from taken k
        ) select * from taken;
    end if;
    v_last := {schema}.due_v1(p_queues);
    if v_next is not null then
        v_last.next_due := least(v_last.next_due, greatest(0, extract(epoch from v_next - v_now)::float8));
    end if;
    v_last.seq := v_no;
    v_last.ended := v_ended;
    v_last.counted := v_counted;
    return next v_last;
end $$;

-- Hand out again what this claim took and what still runs, with the leases extended.
create function {schema}.claim_again_v1(p_worker text, p_no bigint, p_until timestamptz)
returns setof {schema}.delivery language plpgsql as $$
declare
    v_claim {schema}.claim;
begin
    update {schema}.claim c set lapses_at = least(c.lapses_at, p_until)
        where c.worker = p_worker and c.no = p_no and c.ids <> '{}' returning * into v_claim;
    perform 1 from {schema}.task t where t.id = any(v_claim.ids) order by t.id for no key update;
    return query update {schema}.task t set lease_until = p_until
        from unnest(v_claim.ids) with ordinality u(id, place)
        where t.id = u.id and t.claim_no = v_claim.no and t.lease_until is not null
        returning u.place, t.id, t.name, t.body, t.queue, t.priority, t.fence, t.attempt, t.lost_leases, t.worker,
            t.max_lost_leases, t.dead_letter, t.tenant, extract(epoch from t.started_at - t.created_at)::float8,
            case when t.gates is null then false else {schema}.has_own_limits_v1(t.gates) end,
            greatest(0, extract(epoch from t.started_at - t.ready_at))::float8, t.seq, t.lane_group = '', null::float8, null::uuid[], null::text[];
end $$;

-- A delivery that is none: in how many seconds the next task of these queues becomes due, or a gate may open.
create function {schema}.due_v1(p_queues text[]) returns {schema}.delivery language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off
set enable_sort = off as $$
declare
    v_answer {schema}.delivery;
begin
    select case when min(d.due_at) is not null  -- greatest() passes over nulls
            then greatest(0, extract(epoch from min(d.due_at) - clock_timestamp())::float8) end
        into v_answer.next_due
        from unnest(p_queues) u(queue) cross join lateral (
            (select t.due_at from {schema}.task t where t.queue = u.queue and t.due_at is not null
                order by t.queue, t.due_at, t.seq limit 1)
            union all
            (select k.opens_at from {schema}.room k where k.queue = u.queue
                order by k.queue, k.opens_at limit 1)) d;
    return v_answer;
end $$;

-- Whether a claim from these queues might find something.
create function {schema}.is_ready_v1(p_queues text[]) returns boolean language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off
set enable_sort = off as $$
declare
    v_queue text;
    v_now timestamptz := clock_timestamp();
begin
    foreach v_queue in array p_queues loop
        perform 1 from {schema}.queue k where k.name = v_queue and (
            k.paused_reason is not null and (k.paused_until is null or k.paused_until > v_now)
            or not {schema}.is_open_v1(k, v_now));
        continue when found;
        if exists (select 1 from {schema}.task t where t.state = 5 and t.queue = v_queue)
            or exists (select 1 from {schema}.room k where k.queue = v_queue and k.opens_at <= v_now)
            or exists (select 1 from {schema}.task t where t.queue = v_queue and t.front)
            or exists (select 1 from {schema}.task t where t.queue = v_queue and t.due_at <= clock_timestamp())
            or {schema}.has_pending_v1(v_queue, v_now)
        then
            return true;
        end if;
    end loop;
    return false;
end $$;
