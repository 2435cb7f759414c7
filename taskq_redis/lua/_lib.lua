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
local SLACK = 1000 -- ms by which the ids of entries may be ahead of the clock without a word
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

-- Whether a task, or a flow, is kept in this shard: the last byte of its id says where.
local shards
local function is_here(id)
  shards = shards or tonumber(call('HGET', KEYS[1], 'shards'))
  if shards == 1 then return true end
  return (tonumber(string.sub(id, -2), 16) or 0) % shards == tonumber(string.match(P, ':(%d+)}:$'))
end

local written = {} -- schedules, by _schedules.lua before it enqueues what fires

-- ------------------------------------------------------------ what a call collects

local queues, queue_order = {}, {}
local new_leases, gone_leases, new_expiring, gone_expiring, gone_cancels = {}, {}, {}, {}, {}

local function queue_of(name)
  local queue = queues[name]
  if not queue then
    queue = {name = name, ready = 0, counts = {}, ended = {}, lanes = {}, front = {}, due = {}, retry = {}, shares = {}}
    queues[name] = queue
    queue_order[#queue_order + 1] = queue
  end
  return queue
end

local function count(queue, state, by) queue.counts[state] = (queue.counts[state] or 0) + by end

-- Tasks of a tenant begin to run, or run no more. Tasks without a tenant are not counted.
local function share(queue, lane, by)
  local tenant = string.sub(lane, 3)
  if tenant ~= '' then queue.shares[tenant] = (queue.shares[tenant] or 0) + by end
end

-- Tasks of a tenant are there, or are over: how many more, and how many bytes of them.
local loads = {}
local function load_tenant(lane, number, bytes)
  local tenant = string.sub(lane, 3)
  if tenant == '' then return end
  local load = loads[tenant] or {0, 0}
  loads[tenant] = {load[1] + number, load[2] + bytes}
end

local function add_up(hash, field, by)
  if by ~= 0 and call('HINCRBY', hash, field, by) <= 0 then call('HDEL', hash, field) end
end

local function flush_tenants(queue)
  local total = 0
  for tenant, by in pairs(queue.shares) do
    add_up(key('shares', queue.name), tenant, by)
    total = total + by
  end
  add_up(key('shares', queue.name), '', total)
end

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
    for state, by in pairs(queue.counts) do
      if by ~= 0 then call('HINCRBY', key('queue', name), state, by) end
    end
    flush_tenants(queue)
    -- Where only so many may run at once, the end of one lets another begin.
    if (queue.counts.r or 0) < 0 and call('HEXISTS', key('queue', name), 'wk') == 1 then wake(name, 1) end
    for lane, ids in pairs(queue.ended) do
      local entry = call('XADD', end_key(name, lane), '*', 'z', now, 'i', table.concat(ids, ','))
      -- After the clock went back the ids of entries run ahead of it: by how much, who looks from an instant on must know.
      local ahead = tonumber(string.match(entry, '^%d+')) - now
      if ahead > SLACK then
        call('HSET', KEYS[1], 'ahead', math.max(ahead, tonumber(call('HGET', KEYS[1], 'ahead') or 0)))
      end
      call('HSETNX', key('ends', name), lane, 0)
    end
    -- A new earliest due task wakes somebody too, who then waits no longer than until it is due.
    if queue.ready > 0 or is_earlier then wake(name, math.max(queue.ready, 1)) end
  end
  for tenant, load in pairs(loads) do
    add_up(P .. 'loads', 'n:' .. tenant, load[1])
    add_up(P .. 'loads', 'b:' .. tenant, load[2])
  end
  queues, queue_order, loads = {}, {}, {}
  new_leases, gone_leases, new_expiring, gone_expiring, gone_cancels = {}, {}, {}, {}, {}
end

-- ------------------------------------------------------------ the record

-- Whether the task waits because its lease was lost, and its newest run may still be settled: in front, or at a gate that
-- was closed when a claim came upon it. (Of others that wait at a gate the newest fence is settled, or there is none.)
local function may_be_late(state) return state == 'f' or state == 'g' or state == 'a' end

local WAITS = {p = true, f = true, g = true, a = true, s = true, t = true, b = true}

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

-- The lanes of a tenant that has as much as it may are shut: at the end of `lanes`, where no claim looks (_pick.lua). They
-- are so for as long as tasks of it wait in a room of the queue for that, so that somebody comes to open them again.
local SHUT = 10

local function open_lanes(name, tenant)
  local changed = call('ZADD', key('lanes', name), 'XX', 'CH', 0, '3:' .. tenant, 1, '2:' .. tenant, 2, '1:' .. tenant,
    3, '0:' .. tenant)
  return changed > 0
end

-- Whether a queue has a task that waits for nothing but a claim.
local function has_claimable(name)
  return call('EXISTS', key('front', name), key('cleared', name)) > 0 or call('ZCOUNT', key('lanes', name), 0, 3) > 0
end

-- Nobody waits in a room any more: if it was for a tenant's limit, others of the tenant may, or need not.
local function close_room(name, gate)
  call('ZREM', key('gates', name), gate)
  call('SREM', key('rooms', gate), name)
  local tenant = string.match(gate, '^[cr]:@(.*)$')
  return tenant and open_lanes(name, tenant)
end

local function leave_room(name, gate, member)
  local room = room_key(name, gate)
  call('ZREM', room, member)
  if call('EXISTS', room) == 0 and close_room(name, gate) then wake(name, 1) end
end

-- The limits of a task: those of its tenant, as the claim that came upon it last knew them, and its own.
local function limits_of(of_tenant, own)
  if not of_tenant then return own and cjson.decode(own) or {} end
  local limits = cjson.decode(of_tenant)
  for _, limit in ipairs(own and cjson.decode(own) or {}) do limits[#limits + 1] = limit end
  return limits
end

-- One who was let out will not start now: others may, where it would have passed.
local has_made_way = false
local function make_way(name, task)
  has_made_way = true
  for _, limit in ipairs(limits_of(unpack(call('HMGET', task, 'tl', 'g'), 1, 2))) do
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
  elseif state == 'b' then
    call('ZREM', key('blocked', name), id)
    call('ZREM', P .. 'unsure', id)
    call('UNLINK', key('waits', id))
  end
end

-- BLOCKED: it waits for `parents` ("<c, r or f><id>,…"), each of which is yet to be told of it (attach.lua).
local function block(queue, id, parents)
  local waits = {}
  for parent in string.gmatch(parents, '%a([^,]+)') do waits[#waits + 1] = parent end
  in_slices('SADD', key('waits', id), waits)
  call('ZADD', key('blocked', queue.name), now, id)
  call('ZADD', P .. 'unsure', now, id)
  count(queue, 'w', 1)
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
