-- Claim tasks: PENDING → RUNNING, the lease made in the same step.
-- KEYS  meta, nothing
-- ARGV  limit, worker, lease ms, request id, aging ms, round (a request may take several calls, from 0), epoch
--       and age of the store as the caller knows them, queues …
-- Returns ms until the next task is due or -1, 1 if the request was answered before, the store's age, 1 if it was cut
-- short, because it has ended as many expired tasks as one script may, then for each task: id, name and body, its queue
-- (an index or the name), fence, attempt, priority, ms since the enqueue, and '' or "<lost leases> <options>".
local worker, lease = ARGV[2], now + ARGV[3]
local request, aging, round = ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6])
local FIRST_QUEUE = 9
local REMEMBERED = 60000 -- ms beyond the lease for which a request is known
local LEAST_PICKED = 8 -- tasks that each queue is asked for, though others have used up what one script may end

-- A store that came back empty has another epoch, one that came back from an old copy is younger than it was.
local known = call('HMGET', KEYS[1], 'epoch', 'age')
local age = tonumber(known[2]) or 0
if known[1] ~= ARGV[7] or age < ARGV[8] - STEP_BACK then
  return redis.error_reply('TASKQEPOCH the store is not the one that was opened')
end

local reply, held = {-1, 0, age, 0}, {}

local function hand_out(id, body, queue, fence, attempt, lane, created, lost, options)
  local n = #reply
  reply[n + 1], reply[n + 2], reply[n + 3], reply[n + 4], reply[n + 5] = id, body, queue, fence, attempt
  reply[n + 6], reply[n + 7] = tonumber(string.sub(lane, 1, 1)), math.max(0, now - created)
  reply[n + 8] = (lost or options) and (lost or '0') .. ' ' .. (options or '- - - - ') or ''
  new_leases[#new_leases + 1] = lease
  new_leases[#new_leases + 1] = id .. ':' .. fence .. ':' .. worker
end

-- "<request>", then a line for each round: what it was given, as "<id>:<fence>,…".
local claim = key('claim', worker)
local last = call('GET', claim)
local is_known = last and string.sub(last, 1, #request + 1) == request .. '\n'

-- The n-th round of this request, if it was answered before.
local function round_of(n)
  local at = 0
  for line in string.gmatch(string.sub(last, #request + 2) .. '\n', '([^\n]*)\n') do
    if at == n then return line end
    at = at + 1
  end
end

-- The reply was lost, so the same tasks go out again: those of a round, or of the whole request.
local remembered = is_known and (round == 0 and string.sub(last, #request + 2) or round_of(round))
if remembered then
  reply[2] = 1
  for id, fence in string.gmatch(remembered, '([^:,\n]+):(%d+)') do
    local v = call('HMGET', key('task', id), 's', 'f', 'w', 'b', 'q', 'a', 'l', 'c', 'll', 'o')
    if v[1] == 'r' and v[2] == fence and v[3] == worker then
      hand_out(id, v[4], v[5], tonumber(fence), tonumber(v[6]), v[7], v[8], v[9], v[10])
    end
  end
  flush()
  return reply
end

-- Returns whether the task was handed out; one whose time to live is over ends here.
local function start(queue, id, number)
  local task = key('task', id)
  local v = call('HMGET', task, 's', 'f', 'a', 'l', 'c', 'b', 'll', 'o', 'aw')
  if v[1] ~= 'p' and v[1] ~= 'f' then return false end
  local expires, retention = options_of(v[8])
  if expires then gone_expiring[#gone_expiring + 1] = id end
  if expires and expires <= now then
    finish(queue, task, id, 'e', retention, v[9], {})
    return false
  end
  local fence, attempt = (v[2] or 0) + 1, (v[3] or 0) + 1
  call('HSET', task, 's', 'r', 'f', fence, 'a', attempt, 'w', worker, 'u', now)
  held[#held + 1] = id .. ':' .. fence
  hand_out(id, v[6], number, fence, attempt, v[4], v[5], v[7], v[8])
  return true
end

local function after(entry)
  local dash = string.find(entry, '-', 1, true)
  return string.sub(entry, 1, dash) .. string.format('%.0f', string.sub(entry, dash + 1) + 1)
end

-- Take what was picked out of its lanes.
local function remove(name, fronts, lanes)
  if fronts > 0 then call('ZREMRANGEBYRANK', key('front', name), 0, fronts - 1) end
  for _, lane in ipairs(lanes) do
    if lane.is_whole and lane.taken == #lane.entries then
      close_lane(name, lane.name)
    elseif lane.taken > 0 then
      call('XTRIM', lane.stream, 'MINID', '=', after(lane.entries[lane.taken][1]))
      if call('XLEN', lane.stream) == 0 then close_lane(name, lane.name) end
    end
  end
end

local may_end = TASKS_PER_CALL -- how many picked tasks this script may still end, or pass over, instead of handing out

local function claim_from(name, number, limit)
  local row = key('queue', name)
  local settings = call('HMGET', row, 'pr', 'pu', 'ag')
  if settings[1] and (settings[2] == '0' or tonumber(settings[2]) > now) then return 0 end
  local turns, claimed = {}, 0
  local quota = math.floor(((settings[3] or 0) + limit) / AGED_EVERY)
  local is_cut_short = false
  repeat
    local wanted = math.min(limit - claimed, math.max(may_end, LEAST_PICKED))
    local picks, fronts, lanes = pick(name, wanted, quota, aging, turns)
    remove(name, fronts, lanes)
    local queue = queue_of(name)
    local before = claimed
    for _, id in ipairs(picks) do
      if start(queue, id, number) then claimed = claimed + 1 end
    end
    count(queue, 'r', claimed - before)
    quota = 0
    may_end = may_end - (#picks - (claimed - before))
    is_cut_short = may_end <= 0 and claimed - before < #picks
  until #picks == 0 or claimed >= limit or is_cut_short
  if claimed > 0 then
    local changes = {'ag', ((settings[3] or 0) + claimed) % AGED_EVERY}
    for field, group in pairs(turns) do changes[#changes + 1], changes[#changes + 2] = field, group end
    call('HSET', row, unpack(changes))
  end
  -- A claim that leaves a backlog wakes the next worker, so that a burst of work wakes as many as it needs; one that was
  -- cut short wakes the same again.
  if (claimed >= limit or is_cut_short) and call('EXISTS', key('front', name), key('lanes', name)) > 0 then
    wake(name, 1)
    if is_cut_short then reply[4] = 1 end
  end
  return claimed
end

local function ms_until_due(name)
  local first
  for _, kind in ipairs({'due', 'retry'}) do
    local head = call('ZRANGE', key(kind, name), 0, 0, 'WITHSCORES')
    if head[2] then first = math.min(first or math.huge, tonumber(head[2])) end
  end
  return first and math.max(0, first - now)
end

local limit, next_due = tonumber(ARGV[1]), math.huge
for i = FIRST_QUEUE, #ARGV do
  local name = ARGV[i]
  local due = ms_until_due(name)
  if due == 0 then
    promote(name, PROMOTE_PER_FETCH)
    flush()
    due = ms_until_due(name)
  end
  next_due = math.min(next_due, due or math.huge)
  if limit > 0 then limit = limit - claim_from(name, i - FIRST_QUEUE, limit) end
end
call('SET', claim, (is_known and last or request) .. '\n' .. table.concat(held, ','), 'PX', ARGV[3] + REMEMBERED)
flush()
if next_due < math.huge then reply[1] = next_due end
return reply
