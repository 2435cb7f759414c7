-- DEAD, FAILED, CANCELLED, EXPIRED → PENDING at the tail; fence, history and checkpoint stay.
-- KEYS  meta, nothing
-- ARGV  a token of this call (a repeat after a lost reply is answered alike), the queue they go to or '', ids …
-- Returns for each id 1, 2 where it waits for others and its parents are yet to be told of it, 0, or the id of the task
-- that holds its unique key.
local answers = {}

-- Its flow counts it as one that has yet to end.
local function count_back(flow, state, id)
  local name = key('flow', flow)
  if call('EXISTS', name) == 0 then return end
  call('HINCRBY', name, state == 'k' and 'k' or 'x', -1)
  call('HDEL', name, 'en')
  call('ZREM', key('failed', flow), id)
  for _, kind in ipairs({'flow', 'members', 'failed'}) do call('PERSIST', key(kind, flow)) end
end

local function redrive(id)
  local task = key('task', id)
  local v = call('HMGET', task, 's', 'q', 'l', 'o', 'f', 'rd', 'un', 'pa', 'fw', 'ix')
  local state = v[1]
  if not (state == 'd' or state == 'x' or state == 'k' or state == 'e') then
    return (state and v[6] == ARGV[1]) and (state == 'b' and 2 or 1) or 0
  end
  if v[7] and string.sub(v[7], 1, 1) ~= 't' then
    local holder = owner_of(string.match(v[7], '^%a %S+ (.*)$'), id)
    if holder then return holder end
    take_key(id, v[7])
  end
  count(queue_of(v[2]), state, -1)
  unfind(id, state, v[10])
  local name = ARGV[2] ~= '' and ARGV[2] or v[2]
  local queue = queue_of(name)
  count(queue, 'in', 1)
  load_tenant(v[3], 1, call('HSTRLEN', task, 'b'))
  if v[4] then call('HSET', task, 'o', '-' .. string.sub(v[4], string.find(v[4], ' ', 1, true), -1)) end
  -- The fence counts as settled: whoever still runs it has lost it.
  call('HSET', task, 'q', name, 'a', 0, 'sf', v[5] or 0, 'rd', ARGV[1])
  call('HDEL', task, 'll', 'rs', 'fl', 'r', 'pg', 'z', 'cr', 'ct', 'd', 'dl', 'ix')
  call('SADD', P .. 'queues', name)
  if v[9] then count_back(v[9], state, id) end
  if v[8] then
    call('HSET', task, 's', 'b', 'ln', 1)
    block(queue, id, v[8])
    return 2
  end
  call('HSET', task, 's', 'p', 'e', to_lane(queue, v[3], id))
  return 1
end

for i = 3, #ARGV do answers[#answers + 1] = redrive(ARGV[i]) end
flush()
return answers
