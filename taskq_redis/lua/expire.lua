-- Waiting tasks whose time to live is over → EXPIRED.
-- KEYS  meta, nothing
-- ARGV  limit
-- Returns how many.
local expired = 0
gone_expiring = call('ZRANGEBYSCORE', P .. 'expiring', '-inf', now, 'LIMIT', 0, ARGV[1])
for _, id in ipairs(gone_expiring) do
  local task = key('task', id)
  local v = call('HMGET', task, 's', 'q', 'l', 'e', 'o', 'aw')
  local state = v[1]
  if state and WAITS[state] then
    local _, retention, _, _, flags = options_of(v[5])
    leave_waiting(v[2], id, state, v[3], v[4])
    finish(queue_of(v[2]), task, id, 'e', retention, v[6], flags, {})
    expired = expired + 1
  end
end
flush_joins()
flush()
return expired
