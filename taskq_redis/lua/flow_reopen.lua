-- Take back that a flow was cancelled.
-- KEYS  meta, nothing
-- ARGV  id
-- Returns 1, or 0 where it is not known.
local id = ARGV[1]
local name = key('flow', id)
if call('HEXISTS', name, 'at') == 0 then return 0 end
call('HDEL', name, 'cr')
forget_sweep(name)
call('ZADD', P .. 'looks', now, id)
return 1
