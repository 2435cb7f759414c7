-- Results that were put: ids and fences.
select u.ord, r.body from unnest(%b::text[]::uuid[], %b::bigint[]) with ordinality u(id, fence, ord)
join {schema}.result r on r.id = u.id and r.fence = u.fence and r.forget_at > clock_timestamp()
