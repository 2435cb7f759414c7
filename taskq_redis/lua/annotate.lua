-- What a running task writes about itself: accepted when a settlement of the same run would be.
-- KEYS  meta, nothing
-- ARGV  id, fence, worker, field, value ('log': a token of this call, then lines)
-- Returns 1, or 0 and nothing is written.
local task = key('task', ARGV[1])
local v = call('HMGET', task, 's', 'f', 'w', 'sf')
if v[2] ~= ARGV[2] or v[3] ~= ARGV[3] or v[4] == ARGV[2] or (v[1] ~= 'r' and not may_be_late(v[1])) then return 0 end
if ARGV[4] == 'log' then
  if is_repeat(task, ARGV[5]) then return 1 end
  local log = key('log', ARGV[1])
  for i = 6, #ARGV do call('RPUSH', log, ARGV[i]) end
  call('LTRIM', log, -LOG_LIMIT, -1)
else
  call('HSET', task, ARGV[4], ARGV[5])
end
return 1
