-- Store a flow: id, kind, name, spec, callbacks, whether it holds its members, retention.
select {schema}.flow_create_v1(
    %b::text::uuid, %b::text, %b::text, %b::bytea, %b::text::jsonb, %b::boolean, %b::float8)
