-- Note that a flow is to be cancelled: it takes no more members, and those that wait for it are not let go.
-- KEYS  meta, nothing
-- ARGV  id, reason, "open" where it must not be closed yet
-- Returns 1, or 0 where it has ended, is closed in spite of that, or is not known.
local id = ARGV[1]
local name = key('flow', id)
local v = call('HMGET', name, 'at', 'en', 'cl')
if not v[1] or v[2] or (v[3] and ARGV[3] == 'open') then return 0 end
call('ZREM', P .. 'held', id)
call('HSETNX', name, 'cr', ARGV[2])
forget_sweep(name) -- members may have been redriven since an earlier one
if call('HSETNX', name, 'cl', now) == 1 then call('HSET', name, 'pt', 1) end
call('UNLINK', key('children', id))
call('ZADD', P .. 'looks', now, id)
return 1
