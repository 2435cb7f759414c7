-- Forget what a limit has counted: the name of its gate.
select {schema}.reset_gate_v1(%b::text)
