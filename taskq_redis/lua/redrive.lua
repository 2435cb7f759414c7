-- DEAD, FAILED, CANCELLED, EXPIRED → PENDING at the tail; fence, history and checkpoint stay.
-- KEYS  meta, nothing
-- ARGV  a token of this call (a repeat after a lost reply is answered alike), the queue they go to or '', ids …
-- Returns for each id 1, 0, or the id of the task that holds its unique key.
local answers = {}

local function redrive(id)
  local task = key('task', id)
  local v = call('HMGET', task, 's', 'q', 'l', 'o', 'f', 'rd', 'un')
  local state = v[1]
  if not (state == 'd' or state == 'x' or state == 'k' or state == 'e') then
    return (state and v[6] == ARGV[1]) and 1 or 0
  end
  if v[7] and string.sub(v[7], 1, 1) ~= 't' then
    local holder = owner_of(string.match(v[7], '^%a %S+ (.*)$'), id)
    if holder then return holder end
    take_key(id, v[7])
  end
  count(queue_of(v[2]), state, -1)
  local name = ARGV[2] ~= '' and ARGV[2] or v[2]
  local queue = queue_of(name)
  if v[4] then call('HSET', task, 'o', '-' .. string.sub(v[4], string.find(v[4], ' ', 1, true), -1)) end
  -- The fence counts as settled: whoever still runs it has lost it.
  call('HSET', task, 's', 'p', 'q', name, 'e', to_lane(queue, v[3], id), 'a', 0, 'sf', v[5] or 0, 'rd', ARGV[1])
  call('HDEL', task, 'll', 'rs', 'fl', 'r', 'pg', 'z', 'cr', 'ct')
  call('SADD', P .. 'queues', name)
  return 1
end

for i = 3, #ARGV do answers[#answers + 1] = redrive(ARGV[i]) end
flush()
return answers
