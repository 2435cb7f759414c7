-- Go on telling children that their parents have ended.
-- KEYS  meta, nothing
-- ARGV  limit, ms after which somebody else binds a child, ms after which a flow that holds its members is abandoned
-- Returns how many were told, then {child, parent, state, policy, …} of those in other shards, {flow, score, …} that are to
-- be looked at, {child, parents, 1 or '' whether they were redriven, …} that are not known to be bound, and flows that are
-- abandoned.
local limit = tonumber(ARGV[1])
local far, flows, unsure = {}, {}, {}
for _, parent in ipairs(call('ZRANGE', P .. 'out', 0, limit - 1)) do
  if told >= limit then break end
  local rows = {}
  local is_any_left = take_children(parent, limit - told, rows, far)
  tell(rows)
  if not is_any_left then call('ZREM', P .. 'out', parent) end
end
flush_joins()
flush()
flows = call('ZRANGEBYSCORE', P .. 'looks', '-inf', now, 'WITHSCORES', 'LIMIT', 0, limit)
for _, child in ipairs(call('ZRANGEBYSCORE', P .. 'unsure', '-inf', now - ARGV[2], 'LIMIT', 0, 10)) do
  local v = call('HMGET', key('task', child), 'pa', 'ln')
  unsure[#unsure + 1], unsure[#unsure + 2], unsure[#unsure + 3] = child, v[1] or '', v[2] or ''
end
return {told, far, flows, unsure, call('ZRANGEBYSCORE', P .. 'held', '-inf', now - ARGV[3], 'LIMIT', 0, 10)}
