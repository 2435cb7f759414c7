-- oldest speaking: 7

-- The tables. Facts and measurements behind them: docs/decisions/0040-postgres-store.md.
--
-- Codes: state 0 pending or running (running has a lease_until), 1 scheduled, 2 retrying, 3 blocked,
--        4 pending at a closed gate, 5 pending and let out of there,
--        10 completed, 11 failed, 12 dead, 13 cancelled, 14 expired. priority 0 low … 3 critical.
--
-- Lock order, the same in every function: advisory locks, watch, claim, turn, task rows in the order of their ids (or
-- with SKIP LOCKED), gate, room, digest, finished and dead that are redriven, unique_key, depth, finished, dead,
-- tombstone. What is periodic takes rows with SKIP LOCKED; only the reaper waits for those that it takes away, in the
-- order of their ids. Who counts a queue, and who prunes, only tries the advisory lock for it; `cut` is written under it.

create sequence {schema}.place;         -- places in lanes; cache 1, because cursors rely on nearly monotonic numbers
create sequence {schema}.claim_number;

-- Unfinished tasks only. A claim changes the first columns, none of which is in an index or in the predicate of one, so
-- that it writes no index entry (a HOT update, on a page that is half empty). The wide columns come last, so that
-- little is logged.
create table {schema}.task (
    seq bigint not null default nextval('{schema}.place'),  -- a new one with each entry at the tail of a lane
    lease_until timestamptz,                                -- not null: RUNNING
    started_at timestamptz,
    claim_no bigint,
    fence bigint not null default 0,
    settled_fence bigint not null default 0,
    attempt int not null default 0,
    front boolean not null default false,
    cancel_requested boolean not null default false,
    dead_letter boolean not null,
    state smallint not null,
    priority smallint not null,
    lost_leases int not null default 0,
    max_lost_leases int not null,
    worker text collate "C" not null default '',
    id uuid primary key,
    created_at timestamptz not null,
    ready_at timestamptz,
    due_at timestamptz,                                     -- only while it waits for its time
    expires_at timestamptz,
    retention float8 not null,
    queue text collate "C" not null,
    lane_group text collate "C" not null,
    tenant text not null,
    name text not null,
    cancel_reason text not null default '',
    failure bytea,
    progress text,
    checkpoint bytea,
    history text[],
    logs text[],
    gates text,                                             -- its limits (taskq.domain.limits.pack_limits)
    waits_at text collate "C",                              -- the closed gate at which it waits
    unique_key text collate "C",
    unique_until text,                                      -- start, done, ttl
    unique_ttl float8,
    longest_wait float8,
    parents text,                                           -- for what it waits: "<c, r or f><id>,…"
    waits int,                                              -- how many of them have not ended, while it is blocked
    delay float8,                                           -- when it runs once it is blocked no more
    eta timestamptz,
    has_children boolean,                                   -- null: no; all that few have is null, and takes no room
    flow uuid,                                              -- of which it is a member
    tags text[],
    body bytea not null
) with (
    fillfactor = 50,
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000, autovacuum_vacuum_cost_delay = 0,
    autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 100000
);
alter table {schema}.task alter column body set storage external;

create index task_lane on {schema}.task (queue, priority, lane_group, seq) where state = 0 and not front;
create index task_front on {schema}.task (queue, priority desc, seq) where front;
create index task_group on {schema}.task (queue, priority, lane_group) where state = 0 and not front and lane_group <> '';
create index task_due on {schema}.task (queue, due_at, seq) where due_at is not null;
create index task_room on {schema}.task (waits_at, queue, priority desc, ready_at, seq) where state = 4;
create index task_cleared on {schema}.task (queue, priority desc, ready_at, seq) where state = 5;
create index task_blocked on {schema}.task (queue, created_at, seq) where state = 3;
create index task_expires on {schema}.task (expires_at) where expires_at is not null;

-- What each claim took: found again when its reply was lost, and looked at by the reaper when its first lease runs out.
create table {schema}.claim (
    worker text collate "C" not null,
    request text collate "C" not null,
    no bigint not null,
    lapses_at timestamptz not null,
    ids uuid[] not null,
    primary key (worker, no)
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);

-- Finished tasks, whole, by the day of their end (UTC); dead letters apart.
create table {schema}.finished (
    like {schema}.task including defaults,
    completed_at timestamptz not null,
    reason text not null,
    result bytea,
    prune_at timestamptz not null,
    primary key (id, completed_at)
) partition by range (completed_at);
create index finished_browse on {schema}.finished (queue, state, completed_at, seq);
create index finished_brief on {schema}.finished (prune_at) where retention < {usual_retention};
create index finished_failed on {schema}.finished (flow, completed_at, id) where flow is not null and state <> 10;
create index finished_long on {schema}.finished (prune_at) where retention > {usual_retention};

create table {schema}.dead (
    like {schema}.task including defaults,
    completed_at timestamptz not null,
    reason text not null,
    result bytea,
    prune_at timestamptz not null,
    primary key (id)
);
create index dead_browse on {schema}.dead (queue, state, completed_at, seq);
create index dead_failed on {schema}.dead (flow, completed_at, id) where flow is not null;
create index dead_prune on {schema}.dead (prune_at);

-- Ids of finished tasks that were forgotten less than ten minutes after their end.
create table {schema}.tombstone (id uuid primary key, forget_at timestamptz not null);
create index tombstone_forget on {schema}.tombstone (forget_at);
-- Digests of idempotency keys.
create table {schema}.digest (id uuid primary key, digest text not null, forget_at timestamptz not null);
create index digest_forget on {schema}.digest (forget_at);

-- What was answered to calls whose repetition the tasks do not tell from another call: by a token of the call.
create table {schema}.answer (token uuid primary key, answer text[] not null, forget_at timestamptz not null);
create index answer_forget on {schema}.answer (forget_at);

-- What limits have counted (taskq.domain.limits); which row is for what, its name says. Instants in seconds.
create table {schema}.gate (
    name text collate "C" primary key,
    tokens float8, at float8, share float8 not null default 1, cut_at float8 not null default -1e18,
    since float8, runs int not null default 0, failures int not null default 0, opened_at float8,
    probing int not null default 0, probed_at float8 not null default 0, passed int not null default 0,
    forget_at timestamptz not null default now() + interval '1 day'
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
create index gate_forget on {schema}.gate (forget_at);
-- The running tasks that hold a slot of a concurrency limit.
create table {schema}.holder (gate text collate "C", id uuid, primary key (gate, id));
-- The closed gates at which tasks of a queue wait, as the task that came last knows them.
create table {schema}.room (
    queue text collate "C", gate text collate "C", spec jsonb not null, opens_at timestamptz not null,
    primary key (gate, queue)
) with (fillfactor = 50);
create index room_opens on {schema}.room (queue, opens_at);
-- Who holds a unique key (taskq.domain.unique).
create table {schema}.unique_key (
    key text collate "C" primary key, id uuid not null, until text not null, free_at timestamptz
);

create table {schema}.queue (
    name text collate "C" primary key,
    paused_reason text,
    paused_until timestamptz,
    max_finished bigint,
    max_size bigint,
    warn_at float8,
    workers int,
    rate jsonb,                                             -- a limit, as in task.gates
    weight float8,
    retry text,
    timeout float8,
    soft_timeout float8,
    expires float8
);
-- How many tasks waited in a queue when they were counted, how many seconds that took, and since when it is to be done
-- again.
create table {schema}.depth (
    queue text collate "C" primary key, waiting bigint not null, counted_at timestamptz not null,
    took float8 not null, wanted_since timestamptz
) with (fillfactor = 20);
-- The place from which on a queue that keeps so many is pruned by count: while there is more before it than one statement
-- forgets, for a few seconds. Written by who prunes, of whom there is one; whoever takes finished tasks away drops it.
create table {schema}.cut (
    kept_in text, queue text collate "C", completed_at timestamptz not null, seq bigint not null,
    max_finished bigint not null, made_at timestamptz not null, primary key (kept_in, queue)
) with (fillfactor = 20);
-- How many tasks each queue has in each state (0, 4 and 5 as 0, running ones among them), those that have ended by the
-- day of their end: what statements have added, a row for each, and what was summed up of that (0012_counts.sql).
-- Codes: those of `task`, but 20 to 23 stand for PENDING and RUNNING of priority 0 to 3, and 30 for all that came in.
create table {schema}.change (queue text collate "C" not null, state smallint not null, day date, number bigint not null)
    with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000, autovacuum_vacuum_cost_delay = 0);
create table {schema}.total (
    queue text collate "C" not null, state smallint not null, day date, number bigint not null
) with (fillfactor = 50);
create unique index on {schema}.total (queue, state, coalesce(day, 'infinity'));
-- Whose turn it is: written only while several lanes of a queue compete.
create table {schema}.turn (
    queue text collate "C" primary key,
    aging_counter int not null default 0,
    served text[] not null default '{"","","",""}'          -- the group served last, of each priority
) with (fillfactor = 20, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
-- What the reapers remember (taskq.domain.lease).
create table {schema}.watch (
    one boolean primary key default true check (one), last_tick float8, hold_until float8 not null default 0
) with (fillfactor = 20);
insert into {schema}.watch default values;

create table {schema}.worker (
    id text collate "C" primary key,
    info text not null,
    commands text[] not null default '{}',
    seen_at timestamptz not null,
    lapses_at timestamptz not null
) with (fillfactor = 20, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);

create table {schema}.result (
    id uuid, fence bigint, body bytea not null, forget_at timestamptz not null, primary key (id, fence)
);
create index result_forget on {schema}.result (forget_at);

-- Events for those who cannot listen; kept for a minute.
create table {schema}.event (
    no bigint generated always as identity primary key, topic text not null, data text not null,
    at timestamptz not null default now()
);

create view {schema}.live as
    select t.*, null::timestamptz as completed_at, ''::text as reason, null::bytea as result, null::timestamptz as prune_at
    from {schema}.task t;
create view {schema}.record as
    select * from {schema}.live union all select * from {schema}.finished union all select * from {schema}.dead;

-- Make the partitions of the coming days, where they are missing; returns how many were made.
create function {schema}.make_days_v1(p_ahead int) returns int language plpgsql as $$
declare
    v_day date;
    v_name text;
    v_made int := 0;
    v_days date[];
begin
    -- Read from the table, because a look-up by name may still have the answer of before the lock.
    for v_turn in 1..2 loop
        v_days := array(select (clock_timestamp() at time zone 'UTC')::date + n from generate_series(0, p_ahead) n
            where not exists (select 1 from pg_catalog.pg_class c
                where c.relnamespace = {literal}::regnamespace
                    and c.relname = 'finished_' || to_char((clock_timestamp() at time zone 'UTC')::date + n, 'YYYYMMDD')));
        if v_days = '{}' then
            return 0;
        end if;
        perform pg_advisory_xact_lock(hashtext({literal}), 1);
    end loop;
    foreach v_day in array v_days loop
        v_name := 'finished_' || to_char(v_day, 'YYYYMMDD');
        -- Made apart and attached, because that locks out nobody.
        execute format('create table {schema}.%I (like {schema}.finished including defaults including constraints) '
            'with (autovacuum_vacuum_insert_scale_factor = 1)', v_name);
        execute format('alter table {schema}.%I alter column body set storage external', v_name);
        execute format('alter table {schema}.finished attach partition {schema}.%I for values from (%L) to (%L)',
            v_name, v_day::text || ' 00:00:00+00', (v_day + 1)::text || ' 00:00:00+00');
        v_made := v_made + 1;
    end loop;
    return v_made;
end $$;
select {schema}.make_days_v1(7);
