-- Take away leases that ran out: RUNNING → PENDING in the front lane, DEAD, FAILED or CANCELLED.
-- KEYS  meta, nothing
-- ARGV  limit, renewal ms
-- Returns {requeued, buried, cancelled, 1 if the reapers hold off}.
local limit, renewal = tonumber(ARGV[1]), tonumber(ARGV[2])

-- taskq.domain.lease.tick
local watch = call('HMGET', KEYS[1], 'tick', 'hold')
local hold = tonumber(watch[2]) or 0
if watch[1] and (now - watch[1] > renewal or now < watch[1] - 1000) then hold = now + renewal end
hold = math.min(hold, now + renewal)
call('HSET', KEYS[1], 'tick', now, 'hold', hold)
-- The store's age: the seconds in which a reaper has ticked, however many there are (fetch.lua).
if not watch[1] or math.floor(watch[1] / 1000) ~= math.floor(now / 1000) then call('HINCRBY', KEYS[1], 'age', 1) end
if now < hold then return {0, 0, 0, 1} end

local ends = {f = 0, d = 0, x = 0, k = 0}

local function take_away(id, fence, worker)
  local task = key('task', id)
  local v = call('HMGET', task, 's', 'f', 'w', 'q', 'a', 'u', 'll', 'h', 'l', 'e', 'o', 'cr', 'aw')
  if v[1] ~= 'r' or v[2] ~= fence or v[3] ~= worker then return end
  local queue = queue_of(v[4])
  local expires, retention, max_lost, letter, flags = options_of(v[11])
  local lost = (v[7] or 0) + 1
  local failure = '{"type":"LeaseLost","message":"the worker stopped renewing its lease (' .. lost .. ' times so far)"}'
  local history = remember(v[8], fence, v[5], worker, v[6], 'lease lost', failure)
  local fields = {'ll', lost, 'a', v[5] - 1, 'h', history}
  local state = after_lost_lease(v[12], letter, lost, max_lost)
  ends[state] = ends[state] + 1
  count(queue, 'r', -1)
  if v[12] then gone_cancels[#gone_cancels + 1] = id end
  share(queue, v[9], -1)
  if string.find(flags, '[xh]') then leave_gates(task, id, nil) end
  if state == 'f' then
    call('HSET', task, 's', 'f', unpack(fields))
    to_front(queue, v[9], v[10], id)
    if expires then expire_at(id, expires) end
    return
  end
  fields[7], fields[8] = 'rs', state == 'k' and v[12] or POISON
  if state ~= 'k' then fields[9], fields[10] = 'fl', failure end
  finish(queue, task, id, state, retention, v[13], flags, fields)
end

gone_leases = call('ZRANGEBYSCORE', P .. 'leases', '-inf', now, 'LIMIT', 0, limit)
for _, member in ipairs(gone_leases) do take_away(string.match(member, '^(.-):(%d+):(.*)$')) end
flush_joins()
flush_gates()
flush()
return {ends.f, ends.d + ends.x, ends.k, 0}
