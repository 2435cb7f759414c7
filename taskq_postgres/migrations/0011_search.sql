-- oldest speaking: 11

-- By what ended tasks are found (taskq.ports.search). The indexes are written with each end, which costs less here than
-- to catch up behind it (docs/decisions/0080-search.md); what only few tasks have is in partial ones.

-- The class of a failure, its first field, and its fingerprint, the last, as they are written in its JSON, with escapes: the
-- rest may be what Postgres takes for no JSON, such as a NUL. Immutable, because what is stored is always UTF-8.
create function {schema}.failure_part_v1(p_failure bytea, p_part text) returns text language sql immutable as $$
    select substring(convert_from(p_failure, 'UTF8') from case p_part
        when 'type' then '^\s*\{\s*"type"\s*:\s*"((?:[^"\\]|\\.)*)"'
        else '"fingerprint"\s*:\s*"((?:[^"\\]|\\.)*)"\s*\}\s*$' end) collate "C"
$$;

create index finished_name on {schema}.finished ((name collate "C"), state, completed_at, id);
create index finished_tenant on {schema}.finished ((tenant collate "C"), state, completed_at, id) where tenant <> '';
create index finished_error on {schema}.finished
    (({schema}.failure_part_v1(failure, 'type') collate "C"), state, completed_at, id) where failure is not null;
create index finished_print on {schema}.finished
    (({schema}.failure_part_v1(failure, 'fingerprint') collate "C"), state, completed_at, id) where failure is not null;
create index dead_name on {schema}.dead ((name collate "C"), state, completed_at, id);
create index dead_tenant on {schema}.dead ((tenant collate "C"), state, completed_at, id) where tenant <> '';
create index dead_error on {schema}.dead
    (({schema}.failure_part_v1(failure, 'type') collate "C"), state, completed_at, id) where failure is not null;
create index dead_print on {schema}.dead
    (({schema}.failure_part_v1(failure, 'fingerprint') collate "C"), state, completed_at, id) where failure is not null;

-- The tags of ended tasks, because an index over arrays has no order.
create table {schema}.ended_tag (
    tag text collate "C", state smallint, completed_at timestamptz, id uuid,
    primary key (tag, state, completed_at, id)
);
create index ended_tag_age on {schema}.ended_tag (completed_at) where state <> 12;

create function {schema}.tag_v1() returns trigger language plpgsql as $$
begin
    if tg_op = 'DELETE' then
        delete from {schema}.ended_tag e
            where e.tag = any(old.tags) and e.state = old.state and e.completed_at = old.completed_at and e.id = old.id;
    else
        insert into {schema}.ended_tag select distinct x, new.state, new.completed_at, new.id from unnest(new.tags) x;
    end if;
    return null;
end $$;
create trigger tag after insert on {schema}.finished for each row when (new.tags is not null)
    execute function {schema}.tag_v1();
create trigger untag after delete on {schema}.finished for each row when (old.tags is not null)
    execute function {schema}.tag_v1();
create trigger tag after insert on {schema}.dead for each row when (new.tags is not null)
    execute function {schema}.tag_v1();
create trigger untag after delete on {schema}.dead for each row when (old.tags is not null)
    execute function {schema}.tag_v1();

-- Days that were dropped whole, until their tags are forgotten too.
create table {schema}.dropped_day (day date primary key);

-- Forget tags of such days; returns how many.
create function {schema}.forget_tags_v1(p_limit int) returns int language plpgsql as $$
declare
    v_day date := (select min(d.day) from {schema}.dropped_day d);
    v_count int := 0;
begin
    if v_day is null then
        return 0;
    end if;
    delete from {schema}.ended_tag e where e.ctid = any(array(select x.ctid from {schema}.ended_tag x
        where x.state <> 12 and x.completed_at >= v_day::timestamp at time zone 'UTC'
            and x.completed_at < (v_day + 1)::timestamp at time zone 'UTC'
        order by x.completed_at limit p_limit for update skip locked));
    get diagnostics v_count = row_count;
    if v_count = 0 then
        delete from {schema}.dropped_day d where d.day = v_day;
    end if;
    return v_count;
end $$;

-- The conditions of a search on `f`, a table of ended tasks: name, tenant, error or fingerprint is $1.
create function {schema}.search_condition_v1(p_key text) returns text language sql immutable as $$
    select case p_key when 'name' then 'f.name collate "C" = $1'
        when 'tenant' then 'f.tenant collate "C" = $1 and f.tenant <> '''''
        when 'error' then 'f.failure is not null and {schema}.failure_part_v1(f.failure, ''type'') collate "C" = $1'
        when 'fingerprint'
            then 'f.failure is not null and {schema}.failure_part_v1(f.failure, ''fingerprint'') collate "C" = $1'
        when 'tag' then 'f.tag = $1' end
$$;

-- Ended tasks of some states by one value of one key, the newest first, before a place.
create function {schema}.search_v1(
    p_key text, p_value text, p_states smallint[], p_since timestamptz, p_until timestamptz, p_before timestamptz,
    p_before_id uuid, p_limit int
) returns table (id uuid, completed_at timestamptz, state smallint) language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
declare
    v_tables text[] := case p_key when 'tag' then array['ended_tag'] else array['finished', 'dead'] end;
begin
    return query execute 'select x.id, x.completed_at, x.state from ('
        || (select string_agg(format('(select f.id, f.completed_at, f.state from unnest($2) s(state) cross join lateral '
                '(select f.id, f.completed_at, f.state from {schema}.%I f where %s and f.state = s.state '
                'and f.completed_at >= $3 and f.completed_at < $4 and f.completed_at <= $5 '
                'and (f.completed_at, f.id) < ($5, $6) order by f.completed_at desc, f.id desc limit $7) f)',
                x, {schema}.search_condition_v1(p_key)), ' union all ') from unnest(v_tables) x)
        || ') x order by 2 desc, 1 desc limit $7'
        using p_value, p_states, coalesce(p_since, '-infinity'), coalesce(p_until, 'infinity'),
            coalesce(p_before, 'infinity'), coalesce(p_before_id, 'ffffffff-ffff-ffff-ffff-ffffffffffff'), p_limit;
end $$;

-- Ended tasks of some queues and states likewise.
create function {schema}.search_queues_v1(
    p_queues text[], p_states smallint[], p_since timestamptz, p_until timestamptz, p_before timestamptz,
    p_before_id uuid, p_limit int
) returns table (id uuid, completed_at timestamptz, state smallint) language sql
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
    select x.id, x.completed_at, x.state from unnest(p_queues) q(queue) cross join unnest(p_states) s(state)
        cross join lateral (
            (select f.id, f.completed_at, f.state from {schema}.finished f
                where f.queue = q.queue and f.state = s.state
                    and f.completed_at >= coalesce(p_since, '-infinity') and f.completed_at < coalesce(p_until, 'infinity')
                    and f.completed_at <= coalesce(p_before, 'infinity')
                    and (f.completed_at, f.id)
                        < (coalesce(p_before, 'infinity'), coalesce(p_before_id, 'ffffffff-ffff-ffff-ffff-ffffffffffff'))
                order by f.completed_at desc, f.id desc limit p_limit)
            union all
            (select f.id, f.completed_at, f.state from {schema}.dead f
                where f.queue = q.queue and f.state = s.state
                    and f.completed_at >= coalesce(p_since, '-infinity') and f.completed_at < coalesce(p_until, 'infinity')
                    and f.completed_at <= coalesce(p_before, 'infinity')
                    and (f.completed_at, f.id)
                        < (coalesce(p_before, 'infinity'), coalesce(p_before_id, 'ffffffff-ffff-ffff-ffff-ffffffffffff'))
                order by f.completed_at desc, f.id desc limit p_limit)) x
        order by 2 desc, 1 desc limit p_limit
$$;

-- How many a search means, p_most where there are that many or more; p_key null: of all queues.
create function {schema}.search_count_v1(
    p_key text, p_value text, p_states smallint[], p_since timestamptz, p_until timestamptz, p_most int
) returns bigint language plpgsql set enable_seqscan = off set enable_bitmapscan = off as $$
declare
    v_tables text[] := case p_key when 'tag' then array['ended_tag'] else array['finished', 'dead'] end;
    v_table text;
    v_state smallint;
    v_count bigint;
    v_total bigint := 0;
begin
    if p_key is null then
        -- From queue to queue, each found by one look.
        foreach v_table in array v_tables loop
            foreach v_state in array p_states loop
                execute format('with recursive hop(queue) as ((select min(f.queue) from {schema}.%1$I f) union all '
                        'select (select min(f.queue) from {schema}.%1$I f where f.queue > h.queue) from hop h '
                        'where h.queue is not null) '
                        'select count(*) from (select 1 from hop h, lateral (select 1 from {schema}.%1$I f '
                        'where f.queue = h.queue and f.state = $1 and f.completed_at >= $2 and f.completed_at < $3 '
                        'limit $4) x limit $4) y', v_table)
                    into v_count using v_state, coalesce(p_since, '-infinity'), coalesce(p_until, 'infinity'),
                        p_most - v_total;
                v_total := v_total + v_count;
            end loop;
        end loop;
        return least(v_total, p_most);
    end if;
    foreach v_table in array v_tables loop
        foreach v_state in array p_states loop
            exit when v_total >= p_most;
            execute format('select count(*) from (select 1 from {schema}.%I f where %s and f.state = $2 '
                    'and f.completed_at >= $3 and f.completed_at < $4 limit $5) x',
                    v_table, {schema}.search_condition_v1(p_key))
                into v_count using p_value, v_state, coalesce(p_since, '-infinity'), coalesce(p_until, 'infinity'),
                    p_most - v_total;
            v_total := v_total + v_count;
        end loop;
    end loop;
    return v_total;
end $$;

-- Values of a key that ended tasks have and that begin so, in the order of their bytes: each is found by one look.
create function {schema}.search_values_v1(p_key text, p_prefix text, p_limit int) returns setof text language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off as $$
declare
    v_tables text[] := case p_key when 'tag' then array['ended_tag'] else array['finished', 'dead'] end;
    v_column text := case p_key when 'name' then 'f.name collate "C"' when 'tenant' then 'f.tenant collate "C"'
        when 'error' then '{schema}.failure_part_v1(f.failure, ''type'') collate "C"'
        when 'fingerprint' then '{schema}.failure_part_v1(f.failure, ''fingerprint'') collate "C"' else 'f.tag' end;
    v_where text := case p_key when 'tenant' then 'f.tenant <> ''''' when 'tag' then 'true' when 'name' then 'true'
        else 'f.failure is not null' end;
    v_table text;
    v_next text;
    v_least text;
    v_after text := null;
begin
    for i in 1..p_limit loop
        v_least := null;
        foreach v_table in array v_tables loop
            execute format('select %1$s from {schema}.%2$I f where %3$s and %1$s >= $1 and ($2 is null or %1$s > $2) '
                'order by 1 limit 1', v_column, v_table, v_where) into v_next using coalesce(v_after, p_prefix), v_after;
            if v_least is null or v_next collate "C" < v_least then
                v_least := coalesce(v_next, v_least);
            end if;
        end loop;
        exit when v_least is null or not starts_with(v_least, p_prefix);
        return next v_least;
        v_after := v_least;
    end loop;
end $$;
