-- Cancel tasks: waiting → CANCELLED; RUNNING keeps the request.
-- KEYS  meta, nothing
-- ARGV  reason, a token of this call (a repeat after a lost reply is answered alike), ids …
-- Returns for each id 1 cancelled, 2 requested, 0 final, -1 unknown; then one more where something is left for relay.lua.
local CANCELLED, REQUESTED, FINAL, UNKNOWN = 1, 2, 0, -1
local reason, token = ARGV[1], ARGV[2]
local answers = {}

local function cancel(id)
  local task = key('task', id)
  local v = call('HMGET', task, 's', 'q', 'l', 'e', 'o', 'aw', 'ct', 'cr')
  local state = v[1]
  if not state then return UNKNOWN end
  if state == 'r' then
    if not v[8] then call('HSET', task, 'cr', reason) end
    call('SADD', P .. 'cancels', id)
    return REQUESTED
  end
  if not WAITS[state] then
    return (state == 'k' and v[7] == token) and CANCELLED or FINAL
  end
  local expires, retention, _, _, flags = options_of(v[5])
  leave_waiting(v[2], id, state, v[3], v[4])
  if expires then gone_expiring[#gone_expiring + 1] = id end
  finish(queue_of(v[2]), task, id, 'k', retention, v[6], flags, {'rs', reason, 'ct', token})
  return CANCELLED
end

for i = 3, #ARGV do answers[#answers + 1] = cancel(ARGV[i]) end
flush_joins()
flush()
if is_more then answers[#answers + 1] = 1 end
return answers
