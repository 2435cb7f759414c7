-- What tenants have now, in their order.
select l.p_unfinished, l.p_bytes from unnest(%b::text[]) with ordinality u(name, ord)
cross join lateral {schema}.tenant_load_v1(u.name, null, null) l order by u.ord
