-- Store messages: nothing is known → SCHEDULED or PENDING.
-- KEYS  meta, nothing
-- ARGV  parent's id or '', its fence, its worker, '1' for all or none,
--       then runs of messages that are alike: queue, lane, delay ms or '', eta ms or '', expires ms or '', the rest of
--       the options or '', digest, count, count × (id, name and body)
-- Returns for each message 1 created, 0 duplicate, 2 conflict, 3 stale parent.
local CREATED, DUPLICATE, CONFLICT, STALE_PARENT = 1, 0, 2, 3

-- What each message is: its id, its body, and the index of its run's head.
local ids, bodies, heads = {}, {}, {}
local at = 5
while at <= #ARGV do
  for i = at + 8, at + 6 + 2 * ARGV[at + 7], 2 do
    ids[#ids + 1], bodies[#ids + 1], heads[#ids + 1] = ARGV[i], ARGV[i + 1], at
  end
  at = at + 8 + 2 * ARGV[at + 7]
end

local answers = {}
local function answer_all(code)
  for i = 1, #ids do answers[i] = code end
  return answers
end

if ARGV[1] ~= '' then
  local parent = call('HMGET', key('task', ARGV[1]), 's', 'f', 'w', 'sf')
  local is_newest = parent[2] == ARGV[2] and parent[3] == ARGV[3] and parent[4] ~= ARGV[2]
  if not is_newest or (parent[1] ~= 'r' and parent[1] ~= 'f') then return answer_all(STALE_PARENT) end
end

-- Whether an id may be known: asked for all at once, because usually none is.
local tasks, buckets = {}, {}
for i, id in ipairs(ids) do tasks[i] = key('task', id) end
local may_be_known = false
for first = 1, #tasks, CHUNK do
  may_be_known = call('EXISTS', unpack(tasks, first, math.min(first + CHUNK - 1, #tasks))) > 0 or may_be_known
end
local bucket = math.floor(now / TOMBSTONE)
for _, name in ipairs({P .. 'gone:' .. bucket, P .. 'gone:' .. bucket - 1}) do
  if call('EXISTS', name) == 1 then buckets[#buckets + 1] = name end
end

local function is_known(i)
  if may_be_known and call('EXISTS', tasks[i]) == 1 then return true end
  for _, name in ipairs(buckets) do
    if call('SISMEMBER', name, ids[i]) == 1 then return true end
  end
  return false
end

local seen = {}
for i, id in ipairs(ids) do
  local digest = ARGV[heads[i] + 6]
  local stored = digest ~= '' and (seen[id] or call('GET', key('digest', id)))
  if stored and stored ~= digest then
    answers[i] = CONFLICT
    if ARGV[4] == '1' then return answer_all(CONFLICT) end
  elseif stored or seen[id] or is_known(i) then
    answers[i] = DUPLICATE
  else
    answers[i] = CREATED
    seen[id] = digest
  end
end

local function store(i, head)
  local id, task, name, lane = ids[i], tasks[i], ARGV[head], ARGV[head + 1]
  local queue, fields = queue_of(name), {}
  local due = ARGV[head + 3] ~= '' and tonumber(ARGV[head + 3]) or ARGV[head + 2] ~= '' and now + ARGV[head + 2] or now
  if ARGV[head + 4] ~= '' or ARGV[head + 5] ~= '' then
    local expires = ARGV[head + 4] ~= '' and now + ARGV[head + 4] or '-'
    fields = {'o', expires .. ' ' .. (ARGV[head + 5] ~= '' and ARGV[head + 5] or '- - - ')}
    if expires ~= '-' then expire_at(id, expires) end
  end
  if ARGV[head + 6] ~= '' then call('SET', key('digest', id), ARGV[head + 6], 'PX', DIGEST_RETENTION) end
  if due > now then
    call('HSET', task, 's', 's', 'q', name, 'l', lane, 'c', now, 'd', due, 'b', bodies[i], unpack(fields))
    to_delayed(queue, 'due', id, due)
  else
    local entry = to_lane(queue, lane, id)
    call('HSET', task, 's', 'p', 'q', name, 'l', lane, 'c', now, 'e', entry, 'b', bodies[i], unpack(fields))
  end
end

for i, answer in ipairs(answers) do
  if answer == CREATED then store(i, heads[i]) end
end
for _, queue in ipairs(queue_order) do call('SADD', P .. 'queues', queue.name) end
flush()
return answers
