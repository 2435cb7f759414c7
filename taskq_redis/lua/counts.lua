-- How many tasks a queue has in each state: read off counters and the indexes of what waits for its time.
-- KEYS  meta, nothing
-- ARGV  queues …; none: all of the shard
-- Returns nil where these are too many for one call, else their names, and for each: pending, scheduled, retrying, blocked, running, completed, failed, dead, cancelled, expired.
local names, reply = queues_from(1), {}
if not names then return nil end
for i, name in ipairs(names) do
  local scheduled, retrying = call('ZCARD', key('due', name)), call('ZCARD', key('retry', name))
  local blocked = call('ZCARD', key('blocked', name))
  local waiting = tonumber(call('HGET', key('queue', name), 'w') or 0)
  local numbers = {waiting - scheduled - retrying - blocked, scheduled, retrying, blocked}
  for _, n in ipairs(call('HMGET', key('queue', name), unpack(STATES))) do numbers[#numbers + 1] = tonumber(n) or 0 end
  reply[i] = numbers
end
return {names, reply}
