-- How many tasks a queue has in each state: read off the indexes, and counters for what has none of its own.
-- KEYS  meta, nothing
-- ARGV  queues …
-- Returns for each queue: pending, scheduled, retrying, running, completed, failed, dead, cancelled, expired.
local reply = {}
for i, name in ipairs(ARGV) do
  local pending = call('ZCARD', key('front', name))
  for _, lane in ipairs(call('ZRANGE', key('lanes', name), 0, -1)) do
    pending = pending + call('XLEN', lane_key(name, lane))
  end
  local numbers = {pending, call('ZCARD', key('due', name)), call('ZCARD', key('retry', name))}
  for _, n in ipairs(call('HMGET', key('queue', name), unpack(STATES))) do numbers[#numbers + 1] = tonumber(n) or 0 end
  reply[i] = numbers
end
return reply
