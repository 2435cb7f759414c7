-- Cancel waiting tasks of a queue.
-- KEYS  meta, nothing
-- ARGV  queue, limit, reason, a token of this call
-- Returns how many; the same again, and purges no more, for the token of the newest call, whose reply was lost.
local name, limit, token = ARGV[1], tonumber(ARGV[2]), ARGV[4]
local last = call('HMGET', key('queue', name), 'pt', 'pn')
if last[1] == token then return tonumber(last[2]) end
-- A tenant that has as much as it may keeps none of them from this.
local shut = call('ZRANGEBYSCORE', key('lanes', name), SHUT, '+inf', 'LIMIT', 0, limit)
for _, lane in ipairs(shut) do open_lanes(name, string.sub(lane, 3)) end
local ids = pick(name, limit, 0, math.huge, {}, true)
for _, kind in ipairs({'due', 'retry'}) do
  if #ids < limit then
    for _, id in ipairs(call('ZRANGE', key(kind, name), 0, limit - #ids - 1)) do ids[#ids + 1] = id end
  end
end
-- Those who wait at closed gates.
for _, gate in ipairs(call('ZRANGE', key('gates', name), 0, limit - 1)) do
  if #ids >= limit then break end
  for _, member in ipairs(call('ZRANGE', room_key(name, gate), 0, limit - #ids - 1)) do
    ids[#ids + 1] = string.sub(member, 7)
  end
end
local queue = queue_of(name)
for _, id in ipairs(ids) do
  local task = key('task', id)
  local v = call('HMGET', task, 's', 'l', 'e', 'o', 'aw')
  local expires, retention, _, _, flags = options_of(v[4])
  leave_waiting(name, id, v[1], v[2], v[3])
  if expires then gone_expiring[#gone_expiring + 1] = id end
  finish(queue, task, id, 'k', retention, v[5], flags, {'rs', ARGV[3]})
end
if #ids > 0 then call('HSET', key('queue', name), 'pt', token, 'pn', #ids) end
flush_joins()
flush()
return #ids
