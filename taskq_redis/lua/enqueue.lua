-- Store messages: nothing is known → SCHEDULED or PENDING.
-- KEYS  meta, nothing
-- ARGV  parent's id or '', its fence, its worker, '1' for all or none,
--       then runs of messages that are alike: queue, lane, delay ms or '', eta ms or '', expires ms or '', the rest of
--       the options or '', digest, '' or [unique key as in _lib.lua, limits, the longest that it may be put off (ms),
--       whether it replaces, parents as in _lib.lua, flow, tags as JSON] as JSON, '' for what it has not, count,
--       count × (id, name and body)
-- Returns for each message 1 created, 0 duplicate, 2 conflict, 3 stale parent, 4 full, 5 replaced, 6 flow over, 7 over
-- its tenant's quota, the id of the task that holds its unique key, or '!' and that of a parent which is not known; then {queue, depth, limit, …} of
-- queues that are full or past their warning level, and what _schedules.lua has written.
local CREATED, DUPLICATE, CONFLICT, STALE_PARENT, FULL, REPLACED, FLOW_OVER, OVER_QUOTA = 1, 0, 2, 3, 4, 5, 6, 7
local HEAD = 9

-- What each message is: its id, its body, and the index of its run's head.
local ids, bodies, heads = {}, {}, {}
local at = 5
while at <= #ARGV do
  local count = ARGV[at + HEAD - 1]
  for i = at + HEAD, at + HEAD - 2 + 2 * count, 2 do
    ids[#ids + 1], bodies[#ids + 1], heads[#ids + 1] = ARGV[i], ARGV[i + 1], at
  end
  at = at + HEAD + 2 * count
end

local answers, fills = {}, {}
local function answer_all(code)
  for i = 1, #ids do answers[i] = code end
  return {answers, fills, written}
end

if ARGV[1] ~= '' then
  local parent = call('HMGET', key('task', ARGV[1]), 's', 'f', 'w', 'sf')
  local is_newest = parent[2] == ARGV[2] and parent[3] == ARGV[3] and parent[4] ~= ARGV[2]
  if not is_newest or (parent[1] ~= 'r' and not may_be_late(parent[1])) then return answer_all(STALE_PARENT) end
end

-- Whether an id may be known: asked for all at once, with the two sets of those that are forgotten, because usually
-- none is.
local tasks = {}
for i, id in ipairs(ids) do tasks[i] = key('task', id) end
local bucket = math.floor(now / TOMBSTONE)
local gone, gone_before = P .. 'gone:' .. bucket, P .. 'gone:' .. bucket - 1
local may_be_known = call('EXISTS', gone, gone_before, unpack(tasks, 1, math.min(CHUNK, #tasks))) > 0
for first = CHUNK + 1, #tasks, CHUNK do
  may_be_known = call('EXISTS', unpack(tasks, first, math.min(first + CHUNK - 1, #tasks))) > 0 or may_be_known
end

local function is_known(i)
  return may_be_known and (call('EXISTS', tasks[i]) == 1
    or call('SISMEMBER', gone, ids[i]) == 1 or call('SISMEMBER', gone_before, ids[i]) == 1)
end

-- What only some messages have, by the index of their head.
local specials, PLAIN = {}, {'', '', '', false, '', '', ''}
local function special_of(head)
  if ARGV[head + 7] == '' then return PLAIN end
  if not specials[head] then specials[head] = cjson.decode(ARGV[head + 7]) end
  return specials[head]
end

-- How full a queue is: tasks that wait, or will once this call is done; tasks that may; the warning level. And the time
-- to live (ms) of tasks that say nothing of it.
local depths = {}
local function depth_of(name)
  local queue = depths[name]
  if not queue then
    local v = call('HMGET', key('queue', name), 'w', 'ms', 'wa', 'ex')
    queue = {depth = tonumber(v[1]) or 0, limit = tonumber(v[2]) or MAX_SIZE, is_new = not v[1]}
    queue.warn_at = (tonumber(v[3]) or WARN_AT) * queue.limit
    queue.expires = v[4] and math.ceil(v[4] * 1000) -- of tasks that say nothing
    depths[name] = queue
  end
  return queue
end

-- Whether a tenant may not have a task of this size; else it is counted as coming.
local coming = {} -- tenant → unfinished tasks and bytes, with those of this call
local function is_over_quota(lane, bytes)
  local tenant = string.sub(lane, 3)
  local quota = quota_of(tenant)
  if not quota or not (quota[2] or quota[3]) then return false end
  local load = coming[tenant]
  if not load then
    local v = call('HMGET', P .. 'loads', 'n:' .. tenant, 'b:' .. tenant)
    load = {tonumber(v[1]) or 0, tonumber(v[2]) or 0}
    coming[tenant] = load
  end
  if load[1] + 1 > (quota[2] or math.huge) or load[2] + bytes > (quota[3] or math.huge) then return true end
  load[1], load[2] = load[1] + 1, load[2] + bytes
  return false
end

local seen, seen_keys = {}, {}

-- The task that holds the unique key of a message, one of this call perhaps.
local function holder_of(unique)
  if unique == '' then return nil end
  local name = string.match(unique, '^%a %S+ (.*)$')
  return seen_keys[name] or owner_of(name)
end

-- What a message that has to do with other tasks does not find in this shard, nil where it finds all. A flow in another
-- shard was asked by the caller.
local flows = {}
local function lacks(parents, flow)
  for parent in string.gmatch(parents, '%a([^,]+)') do
    if is_here(parent) and not seen[parent] and call('EXISTS', key('task', parent)) == 0
      and (parent ~= flow or call('EXISTS', key('flow', parent)) == 0) then return '!' .. parent end
  end
  if flow == '' or not is_here(flow) then return nil end
  if flows[flow] == nil then
    local v = call('HMGET', key('flow', flow), 'at', 'cr', 'en')
    flows[flow] = v[1] and not v[2] and not v[3]
  end
  return not flows[flow] and FLOW_OVER or nil
end

local function judge(i, id, head)
  local digest, special = ARGV[head + 6], special_of(head)
  if special[4] then return REPLACED end
  local stored = digest ~= '' and (seen[id] or call('GET', key('digest', id)))
  if stored and stored ~= digest then return CONFLICT end
  if stored or seen[id] or is_known(i) then return DUPLICATE end
  local holder = holder_of(special[1])
  if holder then return holder end
  if special[5] ~= '' or special[6] ~= '' then
    local refusal = lacks(special[5], special[6])
    if refusal then return refusal end
  end
  local queue = depth_of(ARGV[head])
  if queue.depth >= queue.limit then
    queue.is_told = true
    return FULL
  end
  if is_over_quota(ARGV[head + 1], #bodies[i]) then return OVER_QUOTA end
  queue.depth = queue.depth + 1
  seen[id] = digest
  if special[1] ~= '' then seen_keys[string.match(special[1], '^%a %S+ (.*)$')] = id end
  return CREATED
end

local function tell_fills()
  for name, queue in pairs(depths) do
    if queue.is_told or queue.depth >= queue.warn_at then
      fills[#fills + 1], fills[#fills + 2], fills[#fills + 3] = name, queue.depth, queue.limit
    end
  end
end

for i, id in ipairs(ids) do
  answers[i] = judge(i, id, heads[i])
  local is_refused = answers[i] == CONFLICT or answers[i] == FULL or answers[i] == FLOW_OVER
    or answers[i] == OVER_QUOTA
  if ARGV[4] == '1' and (is_refused or string.sub(answers[i], 1, 1) == '!') then
    for _, queue in pairs(depths) do queue.depth = math.min(queue.depth, queue.limit) end
    tell_fills()
    return answer_all(answers[i])
  end
end

local joined = {} -- flow → ids

local function join_flow(flow, id)
  if not joined[flow] then joined[flow] = {} end
  table.insert(joined[flow], id)
end

local function flush_flows()
  for flow, members in pairs(joined) do
    call('HINCRBY', key('flow', flow), 'n', #members)
    in_slices('RPUSH', key('members', flow), members)
    for _, kind in ipairs({'flow', 'members', 'failed'}) do call('PERSIST', key(kind, flow)) end
  end
end

local function store(i, head)
  local id, task, name, lane = ids[i], tasks[i], ARGV[head], ARGV[head + 1]
  local queue, fields, special = queue_of(name), {}, special_of(head)
  count(queue, 'in', 1)
  load_tenant(lane, 1, #bodies[i])
  local due = ARGV[head + 3] ~= '' and tonumber(ARGV[head + 3]) or ARGV[head + 2] ~= '' and now + ARGV[head + 2] or now
  local time_to_live = ARGV[head + 4] ~= '' and ARGV[head + 4] or depth_of(name).expires
  if time_to_live or ARGV[head + 5] ~= '' then
    local expires = time_to_live and now + time_to_live or '-'
    fields = {'o', expires .. ' ' .. (ARGV[head + 5] ~= '' and ARGV[head + 5] or '- - - ')}
    if expires ~= '-' then expire_at(id, expires) end
  end
  if special[1] ~= '' then
    take_key(id, special[1])
    fields[#fields + 1], fields[#fields + 2] = 'un', special[1]
  end
  if special[2] ~= '' then fields[#fields + 1], fields[#fields + 2] = 'g', special[2] end
  if special[3] ~= '' then fields[#fields + 1], fields[#fields + 2] = 'lw', special[3] end
  if special[7] ~= '' then fields[#fields + 1], fields[#fields + 2] = 'tg', special[7] end
  if ARGV[head + 6] ~= '' then call('SET', key('digest', id), ARGV[head + 6], 'PX', DIGEST_RETENTION) end
  if special[6] ~= '' then
    fields[#fields + 1], fields[#fields + 2] = 'fw', special[6]
    join_flow(special[6], id)
  end
  if special[5] ~= '' then
    fields[#fields + 1], fields[#fields + 2] = 'pa', special[5]
    if ARGV[head + 3] ~= '' then fields[#fields + 1], fields[#fields + 2] = 'd', due end
    if ARGV[head + 2] ~= '' then fields[#fields + 1], fields[#fields + 2] = 'dl', ARGV[head + 2] end
    call('HSET', task, 's', 'b', 'q', name, 'l', lane, 'c', now, 'b', bodies[i], unpack(fields))
    block(queue, id, special[5])
  elseif due > now then
    call('HSET', task, 's', 's', 'q', name, 'l', lane, 'c', now, 'd', due, 'b', bodies[i], unpack(fields))
    to_delayed(queue, 'due', id, due)
  else
    local entry = to_lane(queue, lane, id)
    call('HSET', task, 's', 'p', 'q', name, 'l', lane, 'c', now, 'e', entry, 'b', bodies[i], unpack(fields))
  end
end

-- The waiting holder of a key takes the arguments of a newer call; returns whether it did.
local function replace(id, body, head)
  local task, special = key('task', id), special_of(head)
  local v = call('HMGET', task, 's', 'q', 'l', 'e', 'c', 'lw')
  if not v[1] or not WAITS[v[1]] then return false end
  if call('GET', key('unique', string.match(special[1], '^%a %S+ (.*)$'))) ~= string.sub(special[1], 1, 1) .. id then
    return false
  end
  load_tenant(v[3], 0, #body - call('HSTRLEN', task, 'b'))
  call('HSET', task, 'b', body)
  if ARGV[head + 2] ~= '' then
    local due = math.min(now + ARGV[head + 2], v[6] and v[5] + v[6] or math.huge)
    if v[1] == 'b' then
      call('HDEL', task, 'd')
      call('HSET', task, 'dl', ARGV[head + 2])
      return true
    end
    if v[1] == 's' then -- it stays in the index, so that only one that is due sooner wakes somebody
      local members = queue_of(v[2]).due
      members[#members + 1], members[#members + 2] = due, id
    else
      leave_waiting(v[2], id, v[1], v[3], v[4])
      to_delayed(queue_of(v[2]), 'due', id, due)
    end
    call('HSET', task, 's', 's', 'd', due)
  end
  return true
end

for i, answer in ipairs(answers) do
  if answer == CREATED then store(i, heads[i]) end
  if answer == REPLACED and not replace(ids[i], bodies[i], heads[i]) then answers[i] = DUPLICATE end
end
for name, queue in pairs(depths) do -- a queue with a counter is listed (prune.lua)
  if queue.is_new then call('SADD', P .. 'queues', name) end
end
flush_flows()
flush()
tell_fills()
return {answers, fills, written}
