-- Members of a flow that ended otherwise than COMPLETED: id, behind which of them (microseconds of its end, id), limit.
-- Each half is cut by itself, so that its index tells the order, however many there are.
select k.id::text, (extract(epoch from k.completed_at) * 1000000)::bigint from (
    (select f.id, f.completed_at from {schema}.finished f where f.flow = %(id)b::text::uuid and f.state <> 10
        and (f.completed_at, f.id) >
            (timestamptz 'epoch' + %(after)b::bigint * interval '1 microsecond', %(behind)b::text::uuid)
        order by f.completed_at, f.id limit %(limit)b::int)
    union all
    (select d.id, d.completed_at from {schema}.dead d where d.flow = %(id)b::text::uuid
        and (d.completed_at, d.id) >
            (timestamptz 'epoch' + %(after)b::bigint * interval '1 microsecond', %(behind)b::text::uuid)
        order by d.completed_at, d.id limit %(limit)b::int)) k
order by k.completed_at, k.id limit %(limit)b::int
