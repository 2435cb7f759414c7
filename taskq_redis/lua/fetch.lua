-- Claim tasks: PENDING → RUNNING, the lease made in the same step.
-- KEYS  meta, nothing
-- ARGV  limit, worker, lease ms, request id, aging ms, round (a request may take several calls, from 0), epoch
--       and age of the store as the caller knows them, queues …
-- Returns ms until the next task is due or -1, 1 if the request was answered before, the store's age, 1 if it was cut
-- short, because it has ended as many expired tasks as one script may, then for each task: id, name and body, its queue
-- (an index or the name), fence, attempt, priority, ms since the enqueue, ms for which it was ready, and '' or
-- "<lost leases> <options>".
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

local function hand_out(id, body, queue, fence, attempt, lane, created, entry, lost, options)
  local n = #reply
  reply[n + 1], reply[n + 2], reply[n + 3], reply[n + 4], reply[n + 5] = id, body, queue, fence, attempt
  reply[n + 6], reply[n + 7] = tonumber(string.sub(lane, 1, 1)), math.max(0, now - created)
  reply[n + 8] = math.max(0, now - string.match(entry, '^%d+'))
  reply[n + 9] = (lost or options) and (lost or '0') .. ' ' .. (options or '- - - - ') or ''
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
    local v = call('HMGET', key('task', id), 's', 'f', 'w', 'b', 'q', 'a', 'l', 'c', 'e', 'll', 'o')
    if v[1] == 'r' and v[2] == fence and v[3] == worker then
      hand_out(id, v[4], v[5], tonumber(fence), tonumber(v[6]), v[7], v[8], v[9], v[10], v[11])
    end
  end
  flush()
  return reply
end

-- Have the task wait at a closed gate, out of everybody's way.
local function park(queue, id, task, lane, entry, limit, was_let_out)
  local gate = gate_of(limit)
  call('HSET', task, 's', 'g', 'rm', gate.name)
  count(queue, 'gw', 1)
  call('ZADD', room_key(queue.name, gate.name), front_score(lane, entry), front_member(entry, id))
  if was_let_out then make_way(queue.name, task) end
  call('ZADD', key('gates', queue.name), now + ms_to_open(gate, limit, 0), gate.name)
  call('SADD', key('rooms', gate.name), queue.name)
end

-- Whether a task with limits may start: if so it has passed its gates, else it waits at the first one that is closed.
local function pass_gates(queue, id, task, lane, was_let_out)
  local v = call('HMGET', task, 'tl', 'g', 'e')
  local limits = limits_of(v[1], v[2])
  for _, limit in ipairs(limits) do
    if room_of(gate_of(limit), limit) == 0 then
      park(queue, id, task, lane, v[3], limit, was_let_out)
      return false
    end
  end
  enter_gates(limits, id)
  return true
end

-- Have a task keep to what its tenant may have now; returns whether that is any limit.
local function stamp(task, lane, stamped)
  local quota = quota_of(string.sub(lane, 3))
  local own = quota and quota[4]
  if own and own ~= stamped then call('HSET', task, 'tl', own) end
  if stamped and not own then call('HDEL', task, 'tl') end
  return own
end

-- Returns whether the task was handed out; one whose time to live is over ends here.
local function start(queue, id, number)
  local task = key('task', id)
  local v = call('HMGET', task, 's', 'f', 'a', 'l', 'c', 'b', 'll', 'o', 'aw', 'e', 'tl')
  if v[1] ~= 'p' and v[1] ~= 'f' and v[1] ~= 'a' then return false end
  if v[1] == 'a' then count(queue, 'gw', -1) end
  local expires, retention, _, _, flags = options_of(v[8])
  if expires and expires <= now then
    gone_expiring[#gone_expiring + 1] = id
    count(queue, 'w', -1)
    if v[1] == 'a' then make_way(queue.name, task) end
    finish(queue, task, id, 'e', retention, v[9], flags, {})
    return false
  end
  if flags ~= '' then
    local is_limited = string.find(flags, 'x', 1, true)
    if string.find(flags, 'h', 1, true) then is_limited = stamp(task, v[4], v[11]) or is_limited end
    if is_limited and not pass_gates(queue, id, task, v[4], v[1] == 'a') then return false end
    share(queue, v[4], 1)
    if string.find(flags, 'u', 1, true) then give_key_back(id, call('HGET', task, 'un'), false) end
  end
  if expires then gone_expiring[#gone_expiring + 1] = id end
  local fence, attempt = (v[2] or 0) + 1, (v[3] or 0) + 1
  call('HSET', task, 's', 'r', 'f', fence, 'a', attempt, 'w', worker, 'u', now)
  held[#held + 1] = id .. ':' .. fence
  hand_out(id, v[6], number, fence, attempt, v[4], v[5], v[10], v[7], v[8])
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
    if lane.is_cleared then
      local members = {}
      for i = 1, lane.taken do members[i] = lane.entries[i][3] end
      if #members > 0 then in_slices('ZREM', key('cleared', name), members) end
    elseif lane.is_whole and lane.taken == #lane.entries then
      close_lane(name, lane.name)
    elseif lane.taken > 0 then
      call('XTRIM', lane.stream, 'MINID', '=', after(lane.entries[lane.taken][1]))
      if call('XLEN', lane.stream) == 0 then close_lane(name, lane.name) end
    end
  end
end

local may_end = TASKS_PER_CALL -- how many picked tasks this script may still end, or pass over, instead of handing out

local function let_out_one(name, room, member, score)
  call('ZREM', room, member)
  local task = key('task', string.sub(member, 7))
  if call('EXISTS', task) == 0 then return end
  call('ZADD', key('cleared', name), score, member)
  call('HSET', task, 's', 'a')
end

-- The one that has waited longest in a room, if longer than `aging`: it has its share of the claims.
local function let_out_aged(name, room)
  local oldest, member, score
  for band = 0, 3 do
    local low = band * 1e13
    local range = {string.format('%.0f', low), string.format('(%.0f', low + 1e13)}
    local head = call('ZRANGEBYSCORE', room, range[1], range[2], 'WITHSCORES', 'LIMIT', 0, 1)
    if head[2] and (not oldest or head[2] - low < oldest) then oldest, member, score = head[2] - low, head[1], head[2] end
  end
  if oldest and now - oldest > aging then let_out_one(name, room, member, score) end
end

-- What may have been set anew since the first of a room came there: the limits of its tenant.
local function limits_at(gate_name, task)
  local kind, tenant = string.match(gate_name, '^(%a):@(.*)$')
  if not tenant then return limits_of(nil, call('HGET', task, 'g')) end
  for _, limit in ipairs(own_limits(tenant)) do
    if limit[1] == kind then return {limit} end
  end
  return {kind == 'c' and {'c', '@' .. tenant, 1e9} or {'r', '@' .. tenant, 1e9, 1e9, false}}
end

-- Whether a tenant has as much as it may: more of its tasks would only join those that wait for that.
local function is_to_shut(name, tenant)
  for _, limit in ipairs(own_limits(tenant)) do
    local gate = gate_of(limit)
    if room_of(gate, limit) == 0 and call('EXISTS', room_key(name, gate.name)) == 1 then return true end
  end
  return false
end

-- Let out of the rooms of a queue as many as the gates that have opened let pass; returns whether any was.
local function let_out(name)
  local is_any = false
  has_made_way = false
  for _, gate_name in ipairs(call('ZRANGEBYSCORE', key('gates', name), '-inf', now, 'LIMIT', 0, ROOMS_PER_FETCH)) do
    local room, tenant = room_key(name, gate_name), string.match(gate_name, '^[cr]:@(.*)$')
    local first = call('ZRANGE', room, 0, 0, 'WITHSCORES')
    local limits = first[1] and limits_at(gate_name, key('task', string.sub(first[1], 7))) or {}
    local is_of_gate = false
    for _, limit in ipairs(limits) do
      if limit[1] .. ':' .. limit[2] == gate_name then
        is_of_gate = true
        local gate = gate_of(limit)
        local free = room_of(gate, limit)
        local most = math.min(free, PROMOTE_PER_FETCH)
        local members = most > 0 and call('ZRANGE', room, 0, most - 1, 'WITHSCORES') or {}
        for i = 1, #members, 2 do let_out_one(name, room, members[i], members[i + 1]) end
        is_any = is_any or #members > 0
        if #members > 0 then let_out_aged(name, room) end
        if #members > 0 and tenant then open_lanes(name, tenant) end -- an urgent one comes before those
        -- While it is open for more than one script lets out: at once.
        local opens = #members / 2 < free and now or now + ms_to_open(gate, limit, #members / 2)
        call('ZADD', key('gates', name), opens, gate_name)
      end
    end
    if first[1] and not is_of_gate then -- it was given other limits while it waited
      let_out_one(name, room, first[1], first[2])
      is_any = true
    end
    if call('EXISTS', room) == 0 then close_room(name, gate_name) end
  end
  return is_any
end

local function ms_until(kinds, name)
  local first
  for _, kind in ipairs(kinds) do
    local head = call('ZRANGE', key(kind, name), 0, 0, 'WITHSCORES')
    if head[2] then first = math.min(first or math.huge, tonumber(head[2])) end
  end
  return first and math.max(0, first - now)
end

local DUE, GATES = {'due', 'retry'}, {'gates'}

-- How many more may start, for all that is set for the queue itself, and in how many ms its rate lets another start.
local function free_of(name, workers, rate, running)
  local free, gate, opens = math.huge, nil, nil
  if workers then free = math.max(0, workers - running) end
  if rate then
    local per_second, burst = string.match(rate, '^(%S+) (%S+)$')
    local limit = {'r', 'queue:' .. name, tonumber(per_second), tonumber(burst), false}
    gate = gate_of(limit)
    free = math.min(free, room_of(gate, limit))
    opens = ms_to_open(gate, limit, math.floor(math.max(0, gate.tokens + ROUNDING)))
  end
  return free, gate, opens
end

local function claim_from(name, number, limit)
  local row = key('queue', name)
  local settings = call('HMGET', row, 'pr', 'pu', 'ag', 'wk', 'rt', 'r', 'gw')
  if settings[1] and (settings[2] == '0' or tonumber(settings[2]) > now) then return 0 end
  local free, rate, opens = free_of(name, settings[4], settings[5], tonumber(settings[6] or 0))
  local asked = limit
  limit = math.min(limit, free)
  if limit <= 0 then return 0, has_claimable(name) and opens or nil end
  local has_gates = (settings[7] or '0') ~= '0'
  if has_gates then let_out(name) end
  local turns, claimed = {}, 0
  local quota = math.floor(((settings[3] or 0) + limit) / AGED_EVERY)
  local is_cut_short = false
  repeat
    local wanted = math.min(limit - claimed, math.max(may_end, LEAST_PICKED))
    local picks, fronts, lanes = pick(name, wanted, quota, aging, turns, has_gates, is_to_shut)
    remove(name, fronts, lanes)
    local queue = queue_of(name)
    local before, shut = claimed, 0
    for _, lane in ipairs(lanes) do
      if lane.is_shut then shut = shut + 1 end
    end
    for _, id in ipairs(picks) do
      if start(queue, id, number) then claimed = claimed + 1 end
    end
    count(queue, 'r', claimed - before)
    count(queue, 'w', before - claimed)
    quota = 0
    local passed_over = #picks - (claimed - before) + shut
    may_end = may_end - passed_over
    is_cut_short = may_end <= 0 and passed_over > 0
  until (#picks + shut == 0 and not (has_made_way and let_out(name))) or claimed >= limit or is_cut_short
  if claimed > 0 then
    local changes = {'ag', ((settings[3] or 0) + claimed) % AGED_EVERY}
    for field, group in pairs(turns) do changes[#changes + 1], changes[#changes + 2] = field, group end
    call('HSET', row, unpack(changes))
  end
  if rate and claimed > 0 then rate.tokens, rate.is_changed = rate.tokens - claimed, true end
  -- A claim that leaves a backlog wakes the next worker, so that a burst of work wakes as many as it needs; one that was
  -- cut short wakes the same again.
  local at_gates = (settings[7] or 0) + (queue_of(name).counts.gw or 0)
  local gate_opens = at_gates > 0 and ms_until(GATES, name) or math.huge
  local is_full = claimed >= limit or is_cut_short
  local is_more = has_claimable(name)
  if is_full and (gate_opens == 0 or is_more) then
    if not (settings[4] or settings[5]) or asked == limit then wake(name, 1) end
    if is_cut_short then reply[4] = 1 end
  end
  -- When the rate of the queue lets another start is of use only where it is that which holds back.
  local is_held_back = opens and claimed >= free and is_more
  return claimed, math.min(is_held_back and opens or math.huge, gate_opens)
end

local limit, next_due = tonumber(ARGV[1]), math.huge
for i = FIRST_QUEUE, #ARGV do
  local name = ARGV[i]
  local due = ms_until(DUE, name)
  if due == 0 then
    promote(name, PROMOTE_PER_FETCH)
    flush()
    due = ms_until(DUE, name)
  end
  next_due = math.min(next_due, due or math.huge)
  if limit > 0 then
    local claimed, opens = claim_from(name, i - FIRST_QUEUE, limit)
    limit = limit - claimed
    next_due = math.min(next_due, opens or math.huge)
  end
end
call('SET', claim, (is_known and last or request) .. '\n' .. table.concat(held, ','), 'PX', ARGV[3] + REMEMBERED)
flush_joins()
flush()
flush_gates()
if next_due < math.huge then reply[1] = next_due end
return reply
