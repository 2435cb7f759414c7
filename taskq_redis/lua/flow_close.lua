-- No more members of a flow come from outside: those that wait for it may run, and it ends when all have ended.
-- KEYS  meta, nothing
-- ARGV  id
-- Returns 1, or 0 where it is not known.
local id = ARGV[1]
local name = key('flow', id)
if call('HEXISTS', name, 'at') == 0 then return 0 end
call('ZREM', P .. 'held', id)
if call('HSETNX', name, 'cl', now) == 1 and call('EXISTS', key('children', id)) == 1 then
  call('ZADD', P .. 'out', now, 'c' .. id)
end
call('ZADD', P .. 'looks', now, id)
return 1
