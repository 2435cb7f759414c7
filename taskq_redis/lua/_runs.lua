-- What becomes of tasks that have run, or end.

-- The options of a record that are not the defaults: "<expires_at> <retention> <max_lost> <letter><flags> <tenant>", "-"
-- for a default. Returns expires_at, retention, max_lost, letter ('0': no dead letter), flags (record.py).
local options_read = {} -- by text: many tasks of one call have the same
local function options_of(text)
  if not text then return nil, DEFAULT_RETENTION, DEFAULT_MAX_LOST, '1', '' end
  local options = options_read[text]
  if not options then
    local expires, retention, lost, letter, flags = string.match(text, '^(%S+) (%S+) (%S+) ([-0])(%a*) ')
    options = {
      tonumber(expires) or false, tonumber(retention) or DEFAULT_RETENTION, tonumber(lost) or DEFAULT_MAX_LOST, letter, flags,
    }
    options_read[text] = options
  end
  return options[1] or nil, options[2], options[3], options[4], options[5]
end

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

-- Let go of the key as the first run begins, or as the task ends.
local function give_key_back(id, unique, is_over)
  local letter, _, name = string.match(unique, '^(%a) (%S+) (.*)$')
  if letter == 's' or (is_over and letter == 'd') then
    if call('GET', key('unique', name)) == letter .. id then call('DEL', key('unique', name)) end
  end
end

local ended_parents, ended_members = {}, {} -- "<state><id>" of who is waited for, and is counted: for _joins.lua

-- → a final state, the index that it leaves apart. `fields` are more fields of the record.
local function finish(queue, task, id, state, retention, awaited, flags, fields)
  if flags ~= '' then
    if string.find(flags, 'u', 1, true) then give_key_back(id, call('HGET', task, 'un'), true) end
    if string.find(flags, 'c', 1, true) then ended_parents[#ended_parents + 1] = state .. id end
    if string.find(flags, 'm', 1, true) then ended_members[#ended_members + 1] = state .. id end
    if string.find(flags, 'h', 1, true) then load_tenant(call('HGET', task, 'l'), -1, -call('HSTRLEN', task, 'b')) end
  end
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
