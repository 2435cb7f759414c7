-- Tell parents of this shard who waits for them; children of this shard learn at once which of them have ended.
-- KEYS  meta, nothing
-- ARGV  how many of the children are told of all their parents by now, their ids, then for each edge: parent, and
--       "<c, r or f><child>"; in capitals where an end of the past counts as if it had been a success
-- Returns for each edge '' or, for a child in another shard, the state in which the parent has ended: '?' if not known.
-- The last answer is 1 if something is left for relay.lua, else 0.
local sure = tonumber(ARGV[1])
local answers, rows = {}, {}

-- The state in which a parent has ended, nil where it has not.
local function end_of(parent)
  local task = key('task', parent)
  local v = call('HMGET', task, 's', 'o')
  if v[1] then
    if v[1] ~= 'r' and not WAITS[v[1]] then return v[1] end
    local head, tail = string.match(v[2] or '- - - - ', '^(%S+ %S+ %S+ [-0]%a*)( .*)$')
    if not string.find(head, 'c', 1, true) then call('HSET', task, 'o', head .. 'c' .. tail) end
    return nil
  end
  local flow = call('HMGET', key('flow', parent), 'at', 'cl', 'cr')
  if not flow[1] then return '?' end
  return flow[3] and 'k' or flow[2] and 'c' or nil
end

for i = sure + 2, #ARGV, 2 do
  local parent, policy, child = ARGV[i], string.sub(ARGV[i + 1], 1, 1), string.sub(ARGV[i + 1], 2)
  local state = end_of(parent)
  if not state then
    call('SADD', key('children', parent), string.lower(policy) .. child)
    answers[#answers + 1] = ''
  else
    if policy ~= string.lower(policy) then state, policy = 'c', string.lower(policy) end
    if is_here(child) then
      add_row(rows, child, parent, state, policy)
      answers[#answers + 1] = ''
    else
      answers[#answers + 1] = state
    end
  end
end
tell(rows)
for i = 2, sure + 1 do call('ZREM', P .. 'unsure', ARGV[i]) end
flush_joins()
flush()
answers[#answers + 1] = is_more and 1 or 0
return answers
