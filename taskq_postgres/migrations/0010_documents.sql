-- oldest speaking: 10

-- What the parts of taskq keep beside the tasks: documents, and journals to which entries are only ever added.

create table {schema}.document (
    kind text collate "C", id text collate "C", version bigint not null, data bytea not null, primary key (kind, id)
);
create table {schema}.journal (
    name text collate "C", number bigint, data bytea not null, primary key (name, number)
);
create table {schema}.journal_end (name text collate "C" primary key, newest bigint not null);

-- Write a document whole; returns whether it still had the version on which this is based, or was this already.
create function {schema}.put_document_v1(p_kind text, p_id text, p_version bigint, p_data bytea)
returns boolean language plpgsql as $$
begin
    if p_version = 0 then
        insert into {schema}.document values (p_kind, p_id, 1, p_data) on conflict do nothing;
    else
        update {schema}.document d set version = d.version + 1, data = p_data
            where d.kind = p_kind and d.id = p_id and d.version = p_version;
    end if;
    if not found then
        perform 1 from {schema}.document d
            where d.kind = p_kind and d.id = p_id and d.version = p_version + 1 and d.data = p_data;
    end if;
    return found;
end $$;

-- Forget a document of a version; returns whether no other one is there.
create function {schema}.delete_document_v1(p_kind text, p_id text, p_version bigint)
returns boolean language plpgsql as $$
begin
    delete from {schema}.document d where d.kind = p_kind and d.id = p_id and d.version = p_version;
    return found or not exists (select 1 from {schema}.document d where d.kind = p_kind and d.id = p_id);
end $$;

-- Add an entry at the end of a journal; returns whether it was the next, or was there already.
create function {schema}.append_v1(p_name text, p_number bigint, p_data bytea) returns boolean language plpgsql as $$
begin
    if p_number = 1 then
        insert into {schema}.journal_end values (p_name, 1) on conflict do nothing;
    else
        update {schema}.journal_end e set newest = p_number where e.name = p_name and e.newest = p_number - 1;
    end if;
    if found then
        insert into {schema}.journal values (p_name, p_number, p_data);
        return true;
    end if;
    return exists (select 1 from {schema}.journal j where j.name = p_name and j.number = p_number and j.data = p_data);
end $$;
