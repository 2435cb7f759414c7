select p_requeued, p_buried, p_cancelled, p_is_holding, p_ended::text[], p_uncounted
    from {schema}.reap_v1(%b::int, %b::float8)
