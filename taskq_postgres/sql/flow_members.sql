-- Members of a flow: id, after which number, limit.
select m.id::text, m.no from {schema}.member m where m.flow = %b::text::uuid and m.no > %b::bigint order by m.no limit %b::int
