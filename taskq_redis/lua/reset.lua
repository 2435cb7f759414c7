-- Forget what a limit has counted: a full bucket, a closed breaker.
-- KEYS  meta, nothing
-- ARGV  name of a gate
call('DEL', key('gate', ARGV[1]))
open_gate(ARGV[1])
flush()
return 1
