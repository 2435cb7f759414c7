-- Store a flow without members, in its own shard.
-- KEYS  meta, nothing
-- ARGV  id, 1 if it holds its members, retention ms, then its fields (record.py) and their values
-- Returns 1, or 0 where its id is known.
local id, retention = ARGV[1], tonumber(ARGV[3])
local name = key('flow', id)
if call('HEXISTS', name, 'at') == 1 then return 0 end
call('HSET', name, 'at', now, 'rt', retention, unpack(ARGV, 4))
call('PEXPIRE', name, math.max(1, retention))
call('ZADD', P .. 'flows', now, id)
if ARGV[2] == '1' then
  call('HSET', name, 'hl', 1)
  call('ZADD', P .. 'held', now, id)
end
return 1
