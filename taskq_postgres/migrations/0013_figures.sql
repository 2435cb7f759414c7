-- oldest speaking: 10

-- Figures over time, and duties that one process at a time is enough for.

-- What processes leave is worth nothing after a crash.
create unlogged table {schema}.figures_left (
    id text collate "C" primary key, at timestamptz not null, data bytea not null
);
create index figures_left_at on {schema}.figures_left (at, id);
create table {schema}.figures (
    step int, at bigint, version bigint not null, data bytea not null, primary key (step, at)
);
create table {schema}.duty (name text collate "C" primary key, holder text not null, until timestamptz not null);

-- Leave figures to be rolled up, of which at most p_most may be left.
create function {schema}.leave_v1(p_id text, p_data bytea, p_most int) returns void language plpgsql as $$
begin
    insert into {schema}.figures_left values (p_id, clock_timestamp(), p_data) on conflict do nothing;
    delete from {schema}.figures_left l using (
            select k.id from {schema}.figures_left k order by k.at desc, k.id desc offset p_most for update skip locked) gone
        where l.id = gone.id;
end $$;

-- Write rows of figures and forget what they were made of; returns whether nobody else has written or forgotten any.
create function {schema}.roll_up_v1(p_taken text[], p_steps int[], p_ats bigint[], p_versions bigint[], p_data bytea[])
returns boolean language plpgsql as $$
declare
    v_count int;
begin
    if not pg_try_advisory_xact_lock(hashtextextended({literal}, 7)) then
        return false;
    end if;
    select count(*) into v_count from (
        select 1 from {schema}.figures_left l where l.id = any(p_taken) order by l.id for update) k;
    if v_count < cardinality(p_taken) or exists (
            select 1 from unnest(p_steps, p_ats, p_versions) u(step, at, version)
                left join {schema}.figures f on f.step = u.step and f.at = u.at
                where coalesce(f.version, 0) <> u.version) then
        return false;
    end if;
    delete from {schema}.figures_left l where l.id = any(p_taken);
    insert into {schema}.figures select u.step, u.at, u.version + 1, u.data
            from unnest(p_steps, p_ats, p_versions, p_data) u(step, at, version, data)
        on conflict (step, at) do update set version = excluded.version, data = excluded.data;
    return true;
end $$;

-- Take, or keep, a duty for so many seconds; returns whether it is the holder's.
create function {schema}.take_duty_v1(p_name text, p_holder text, p_seconds float8) returns boolean language plpgsql as $$
begin
    insert into {schema}.duty as d values (p_name, p_holder, clock_timestamp() + p_seconds * interval '1 second')
        on conflict (name) do update set holder = excluded.holder, until = excluded.until
            where d.holder = excluded.holder or d.until <= clock_timestamp();
    return found;
end $$;
