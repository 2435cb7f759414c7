-- What every script begins with. KEYS[1] is always the shard's `meta` key, and every other name begins like it; KEYS[2]
-- never exists (keys.py says why).
-- keys.py pictures the key space, record.py the fields of a record and the letters of the states.
-- A script validates first and writes then: Redis undoes nothing. What concerns many tasks alike (counters, leases,
-- streams of ended tasks) is collected and written once, by flush().

local call = redis.call
local P = string.sub(KEYS[1], 1, -5)
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local TOKENS = 4
local TOKENS_KNOWN = 8
local CHUNK = 1000 -- Lua's unpack dies of several thousand values

local function key(kind, name) return P .. kind .. ':' .. name end
local function lane_key(queue, lane) return P .. 'lane:' .. #queue .. ':' .. queue .. ':' .. lane end
local function room_key(queue, gate) return P .. 'room:' .. #queue .. ':' .. queue .. ':' .. gate end
local function end_key(queue, lane) return P .. 'end:' .. #queue .. ':' .. queue .. ':' .. lane end

-- One command over many members, in slices.
local function in_slices(command, name, members)
  for first = 1, #members, CHUNK do
    call(command, name, unpack(members, first, math.min(first + CHUNK - 1, #members)))
  end
end

-- Whether a call that appends something was heard before: a hash keeps the tokens of the newest few, because calls of
-- several callers may come between one whose reply was lost and its repetition.
local function is_repeat(name, token)
  local known = call('HGET', name, 'ts') or ''
  if string.find(known, token, 1, true) then return true end
  call('HSET', name, 'ts', string.sub(known .. token, -TOKENS_KNOWN * #token))
  return false
end

local written = {} -- schedules, by _schedules.lua before it enqueues what fires

-- ------------------------------------------------------------ what a call collects

local queues, queue_order = {}, {}
local new_leases, gone_leases, new_expiring, gone_expiring, gone_cancels = {}, {}, {}, {}, {}

local function queue_of(name)
  local queue = queues[name]
  if not queue then
    queue = {name = name, ready = 0, counts = {}, ended = {}, lanes = {}, front = {}, due = {}, retry = {}}
    queues[name] = queue
    queue_order[#queue_order + 1] = queue
  end
  return queue
end

local function count(queue, state, by) queue.counts[state] = (queue.counts[state] or 0) + by end

-- Tokens on the queue's list, at most `wanted` of them: one wakes one worker, which looks for itself.
local function wake(name, wanted)
  local list = key('wake', name)
  for _ = call('LLEN', list) + 1, math.min(wanted, TOKENS) do call('RPUSH', list, '1') end
end

local function add_due(kind, name, members)
  local zset = key(kind, name)
  local head = call('ZRANGE', zset, 0, 0, 'WITHSCORES')
  in_slices('ZADD', zset, members)
  local first = call('ZRANGE', zset, 0, 0, 'WITHSCORES')
  return not head[2] or tonumber(first[2]) < tonumber(head[2])
end

local STATES = {'r', 'c', 'x', 'd', 'k', 'e'}
local COUNTED = {'w', 'gw', 'r', 'c', 'x', 'd', 'k', 'e'} -- what a queue counts: all that wait, those at gates, states

local function flush()
  if #new_leases > 0 then in_slices('ZADD', P .. 'leases', new_leases) end
  if #gone_leases > 0 then in_slices('ZREM', P .. 'leases', gone_leases) end
  if #gone_cancels > 0 then in_slices('SREM', P .. 'cancels', gone_cancels) end
  if #gone_expiring > 0 then in_slices('ZREM', P .. 'expiring', gone_expiring) end
  if #new_expiring > 0 then in_slices('ZADD', P .. 'expiring', new_expiring) end
  for _, queue in ipairs(queue_order) do
    local name = queue.name
    for lane in pairs(queue.lanes) do
      call('ZADD', key('lanes', name), 'NX', 3 - tonumber(string.sub(lane, 1, 1)), lane)
    end
    if #queue.front > 0 then in_slices('ZADD', key('front', name), queue.front) end
    local is_earlier = #queue.due > 0 and add_due('due', name, queue.due)
    is_earlier = #queue.retry > 0 and add_due('retry', name, queue.retry) or is_earlier
    for _, state in ipairs(COUNTED) do
      local by = queue.counts[state]
      if by and by ~= 0 then call('HINCRBY', key('queue', name), state, by) end
    end
    -- Where only so many may run at once, the end of one lets another begin.
    if (queue.counts.r or 0) < 0 and call('HEXISTS', key('queue', name), 'wk') == 1 then wake(name, 1) end
    for lane, ids in pairs(queue.ended) do
      call('XADD', end_key(name, lane), '*', 'z', now, 'i', table.concat(ids, ','))
      call('HSETNX', key('ends', name), lane, 0)
    end
    -- A new earliest due task wakes somebody too, who then waits no longer than until it is due.
    if queue.ready > 0 or is_earlier then wake(name, math.max(queue.ready, 1)) end
  end
  queues, queue_order = {}, {}
  new_leases, gone_leases, new_expiring, gone_expiring, gone_cancels = {}, {}, {}, {}, {}
end

-- ------------------------------------------------------------ the record

-- The options of a record that are not the defaults: "<expires_at> <retention> <max_lost> <letter><flags> <tenant>", "-"
-- for a default. Returns expires_at, retention, max_lost, letter ('0': no dead letter), flags ('u': it has a unique key,
-- 'x': it has limits).
local function options_of(text)
  if not text then return nil, DEFAULT_RETENTION, DEFAULT_MAX_LOST, '1', '' end
  local expires, retention, lost, letter, flags = string.match(text, '^(%S+) (%S+) (%S+) ([-0])(%a*) ')
  return tonumber(expires), tonumber(retention) or DEFAULT_RETENTION, tonumber(lost) or DEFAULT_MAX_LOST, letter, flags
end

-- Whether the task waits because its lease was lost, and its newest run may still be settled: in front, or at a gate that
-- was closed when a claim came upon it. (Of others that wait at a gate the newest fence is settled, or there is none.)
local function may_be_late(state) return state == 'f' or state == 'g' or state == 'a' end

local WAITS = {p = true, f = true, g = true, a = true, s = true, t = true, b = true}

-- The history with one more attempt, a JSON array on a line of its own; the newest HISTORY_LIMIT are kept.
local function remember(history, fence, attempt, worker, started, outcome, failure)
  local line = table.concat({
    '[' .. fence, attempt, cjson.encode(worker), started, now, '"' .. outcome .. '"', failure ~= '' and failure or 'null',
  }, ',') .. ']'
  if not history then return line end
  local _, breaks = string.gsub(history, '\n', '')
  if breaks + 2 > HISTORY_LIMIT then history = string.sub(history, string.find(history, '\n', 1, true) + 1) end
  return history .. '\n' .. line
end

-- ------------------------------------------------------------ into an index, out of an index

-- The member of the front lane: the score is exact to the millisecond, the member puts those of one millisecond in order.
local function front_member(entry, id)
  return string.format('%06d', string.sub(entry, string.find(entry, '-', 1, true) + 1)) .. id
end

local function to_lane(queue, lane, id)
  queue.lanes[lane] = true
  queue.ready = queue.ready + 1
  count(queue, 'w', 1)
  return call('XADD', lane_key(queue.name, lane), '*', 'i', id)
end

-- The place of a task among those that came back: by priority, then by the instant of becoming ready.
local function front_score(lane, entry)
  local ready_at = string.sub(entry, 1, string.find(entry, '-', 1, true) - 1)
  return string.format('%.0f', (3 - string.sub(lane, 1, 1)) * 1e13 + ready_at)
end

local function to_front(queue, lane, entry, id)
  local front = queue.front
  front[#front + 1] = front_score(lane, entry)
  front[#front + 1] = front_member(entry, id)
  queue.ready = queue.ready + 1
  count(queue, 'w', 1)
end

local function to_delayed(queue, kind, id, due)
  local members = queue[kind]
  members[#members + 1] = due
  members[#members + 1] = id
  count(queue, 'w', 1)
end

local function expire_at(id, expires)
  new_expiring[#new_expiring + 1] = expires
  new_expiring[#new_expiring + 1] = id
end

local function close_lane(name, lane)
  call('DEL', lane_key(name, lane))
  call('ZREM', key('lanes', name), lane)
end

local function leave_room(name, gate, member)
  local room = room_key(name, gate)
  call('ZREM', room, member)
  if call('EXISTS', room) == 0 then
    call('ZREM', key('gates', name), gate)
    call('SREM', key('rooms', gate), name)
  end
end

-- One who was let out will not start now: others may, where it would have passed.
local has_made_way = false
local function make_way(name, task)
  has_made_way = true
  for _, limit in ipairs(cjson.decode(call('HGET', task, 'g'))) do
    call('ZADD', key('gates', name), 'XX', 0, limit[1] .. ':' .. limit[2])
  end
end

-- Take a waiting task out of the index of its state.
local function leave_waiting(name, id, state, lane, entry)
  count(queue_of(name), 'w', -1)
  if state == 'a' or state == 'g' then count(queue_of(name), 'gw', -1) end
  if state == 'p' then
    local stream = lane_key(name, lane)
    call('XDEL', stream, entry)
    if call('XLEN', stream) == 0 then close_lane(name, lane) end
  elseif state == 'f' then
    call('ZREM', key('front', name), front_member(entry, id))
  elseif state == 'a' then
    call('ZREM', key('cleared', name), front_member(entry, id))
    make_way(name, key('task', id))
  elseif state == 'g' then
    leave_room(name, call('HGET', key('task', id), 'rm'), front_member(entry, id))
  elseif state == 's' then
    call('ZREM', key('due', name), id)
  elseif state == 't' then
    call('ZREM', key('retry', name), id)
  end
end

-- ------------------------------------------------------------ unique keys

-- The id of the task that holds a key, other than `but`; nil where it is free: no key survives its owner.
local function owner_of(unique, but)
  local held = call('GET', key('unique', unique))
  if not held or string.sub(held, 2) == but then return nil end
  local state = call('HGET', key('task', string.sub(held, 2)), 's')
  if not state or not (string.sub(held, 1, 1) == 't' or state == 'r' or WAITS[state]) then return nil end
  return string.sub(held, 2)
end

-- `unique` is "<s, d or t: until start, done, or its time is over> <ms or -> <key>".
local function take_key(id, unique)
  local letter, ttl, name = string.match(unique, '^(%a) (%S+) (.*)$')
  if ttl == '-' then
    call('SET', key('unique', name), letter .. id)
  else
    call('SET', key('unique', name), letter .. id, 'PX', ttl)
  end
end

-- Let go of the key as the first run begins, or as the task ends.
local function give_key_back(id, unique, is_over)
  local letter, _, name = string.match(unique, '^(%a) (%S+) (.*)$')
  if letter == 's' or (is_over and letter == 'd') then
    if call('GET', key('unique', name)) == letter .. id then call('DEL', key('unique', name)) end
  end
end

-- → a final state, the index that it leaves apart. `fields` are more fields of the record.
local function finish(queue, task, id, state, retention, awaited, flags, fields)
  if flags ~= '' and string.find(flags, 'u', 1, true) then give_key_back(id, call('HGET', task, 'un'), true) end
  call('HSET', task, 's', state, 'z', now, unpack(fields))
  count(queue, state, 1)
  if state == 'd' then retention = math.max(retention, DEAD_RETENTION) end
  local lane = state .. ':' .. retention
  local ids = queue.ended[lane]
  if not ids then
    ids = {}
    queue.ended[lane] = ids
  end
  ids[#ids + 1] = id
  -- A hint only: a user without the right to publish must not break off a script half way.
  if awaited then redis.pcall('PUBLISH', P .. 'ended:' .. id, state) end
end

-- Where a task goes whose lease was lost (taskq.domain.outcome.after_lost_lease).
local function after_lost_lease(cancel_reason, letter, lost, max_lost)
  if cancel_reason then return 'k' end
  if lost >= max_lost then return letter == '0' and 'x' or 'd' end
  return 'f'
end

-- Due tasks of a queue → the tail of their lanes, earliest first; returns how many.
local function promote(name, limit)
  local due = {}
  for _, kind in ipairs({'due', 'retry'}) do
    local found = call('ZRANGEBYSCORE', key(kind, name), '-inf', now, 'WITHSCORES', 'LIMIT', 0, limit)
    for i = 1, #found, 2 do due[#due + 1] = {id = found[i], at = tonumber(found[i + 1]), kind = kind, order = #due} end
  end
  table.sort(due, function(a, b) return a.at < b.at or (a.at == b.at and a.order < b.order) end)
  local queue, gone = queue_of(name), {due = {}, retry = {}}
  for i = 1, math.min(limit, #due) do
    local id, kind = due[i].id, due[i].kind
    gone[kind][#gone[kind] + 1] = id
    local task = key('task', id)
    local lane = call('HGET', task, 'l')
    if lane then call('HSET', task, 's', 'p', 'e', to_lane(queue, lane, id)) end
  end
  for _, kind in ipairs({'due', 'retry'}) do
    if #gone[kind] > 0 then in_slices('ZREM', key(kind, name), gone[kind]) end
  end
  count(queue, 'w', -math.min(limit, #due))
  return math.min(limit, #due)
end
