-- Have something hold for a gate: its name, what holds as JSON (null takes it back). Whether anything held before.
select {schema}.override_gate_v1(%b::text, %b::text::jsonb)
