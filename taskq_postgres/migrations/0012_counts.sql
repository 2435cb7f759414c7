-- oldest speaking: 12

-- Counting tasks where they are written: a row for each statement and state, without a lock that anybody waits for.

-- What comes into a table of tasks, and what leaves it. What stays in `task` and changes its state is noted by moved_v1.
create function {schema}.count_live_v1() returns trigger language plpgsql as $$
begin
    insert into {schema}.change (queue, state, number)
        select r.queue, case when r.state in (0, 4, 5) then 20 + r.priority else r.state end,
                case tg_op when 'INSERT' then count(*) else -count(*) end
            from changed r group by 1, 2;
    if tg_op = 'INSERT' then
        insert into {schema}.change (queue, state, number) select r.queue, 30, count(*) from changed r group by 1;
    end if;
    return null;
end $$;
create function {schema}.count_ended_v1() returns trigger language plpgsql as $$
begin
    insert into {schema}.change (queue, state, day, number)
        select r.queue, r.state, case tg_table_name when 'dead' then null else (r.completed_at at time zone 'UTC')::date end,
                case tg_op when 'INSERT' then count(*) else -count(*) end
            from changed r group by 1, 2, 3;
    return null;
end $$;
create trigger count_in after insert on {schema}.task referencing new table as changed
    for each statement execute function {schema}.count_live_v1();
create trigger count_out after delete on {schema}.task referencing old table as changed
    for each statement execute function {schema}.count_live_v1();
create trigger count_in after insert on {schema}.finished referencing new table as changed
    for each statement execute function {schema}.count_ended_v1();
create trigger count_out after delete on {schema}.finished referencing old table as changed
    for each statement execute function {schema}.count_ended_v1();
create trigger count_in after insert on {schema}.dead referencing new table as changed
    for each statement execute function {schema}.count_ended_v1();
create trigger count_out after delete on {schema}.dead referencing old table as changed
    for each statement execute function {schema}.count_ended_v1();

-- So many tasks of a queue have gone from one state to another (codes as in `total`).
create function {schema}.moved_v1(p_queue text, p_from int, p_to int, p_number bigint) returns void language sql as $$
    insert into {schema}.change (queue, state, number)
        select p_queue, k.state, k.number from (values (p_from, -p_number), (p_to, p_number)) k(state, number)
            where p_number > 0
$$;

-- A day of finished tasks was dropped.
create function {schema}.dropped_v1(p_day date) returns void language sql as $$
    insert into {schema}.change (queue, state, day, number)
        select k.queue, k.state, p_day, -sum(k.number) from (
                select t.queue, t.state, t.number from {schema}.total t where t.day = p_day
                union all select c.queue, c.state, c.number from {schema}.change c where c.day = p_day) k
            group by 1, 2 having sum(k.number) <> 0
$$;

-- Sum up to p_limit changes, unless somebody is at it; returns how many.
create function {schema}.sum_up_v1(p_limit int) returns int language plpgsql as $$
declare
    v_count int;
begin
    if not pg_try_advisory_xact_lock(hashtext({literal}), 3) then
        return 0;
    end if;
    with gone as (
        delete from {schema}.change c where c.ctid = any(array(select x.ctid from {schema}.change x limit p_limit))
            returning c.queue, c.state, c.day, c.number
    ), added as (
        insert into {schema}.total as t (queue, state, day, number)
            select g.queue, g.state, g.day, sum(g.number) from gone g group by 1, 2, 3 order by 1, 2, 3
        on conflict (queue, state, coalesce(day, 'infinity')) do update set number = t.number + excluded.number
    ) select count(*) into v_count from gone;
    delete from {schema}.total t where t.number = 0;
    return v_count;
end $$;
