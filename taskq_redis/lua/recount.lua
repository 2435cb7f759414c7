-- Compare what queues count with what is there: what waits and what runs; and what has ended, where the caller has
-- counted that while nothing ended or was forgotten.
-- KEYS  meta, nothing
-- ARGV  1 to mend or '', 1 to compare what waits or '', 1 to compare what runs or '', then for each queue its name, its
--       mark as an earlier call returned it or '', and how many are COMPLETED, FAILED, DEAD, CANCELLED and EXPIRED
-- Returns {mark of each queue}, {kind of damage, queue, …}, {queues of which something was not compared}.
local MOST_LANES, MOST_LEASES = 1000, 5000 -- which one script counts
local waits, runs = ARGV[2] == '1', ARGV[3] == '1'
local marks, passed_over = {}, {}

local function compare(name, field, number)
  if tonumber(call('HGET', key('queue', name), field) or 0) == number then return end
  if found[#found] ~= name then note('counts', name) end
  if mends then call('HSET', key('queue', name), field, number) end
end

local function compare_waiting(name)
  local lanes, gates = call('ZCARD', key('lanes', name)), call('ZCARD', key('gates', name))
  if lanes > MOST_LANES or gates > MOST_LANES then return false end
  local at_gates, waiting = call('ZCARD', key('cleared', name)), 0
  for _, gate in ipairs(call('ZRANGE', key('gates', name), 0, -1)) do
    at_gates = at_gates + call('ZCARD', room_key(name, gate))
  end
  for _, lane in ipairs(call('ZRANGE', key('lanes', name), 0, -1)) do
    waiting = waiting + call('XLEN', lane_key(name, lane))
  end
  for _, kind in ipairs({'front', 'due', 'retry', 'blocked'}) do waiting = waiting + call('ZCARD', key(kind, name)) end
  compare(name, 'w', waiting + at_gates)
  compare(name, 'gw', at_gates)
  return true
end

-- How many tasks of each queue run, and of each tenant in it.
local shares = {}
local function count_running()
  local running = {}
  if call('ZCARD', P .. 'leases') > MOST_LEASES then return nil end
  for _, member in ipairs(call('ZRANGE', P .. 'leases', 0, -1)) do
    local v = call('HMGET', key('task', string.match(member, '^[^:]*')), 'q', 'l')
    local name, tenant = v[1], string.sub(v[2] or '', 3)
    if name then running[name] = (running[name] or 0) + 1 end
    if name and tenant ~= '' then
      shares[name] = shares[name] or {[''] = 0}
      shares[name][tenant] = (shares[name][tenant] or 0) + 1
      shares[name][''] = shares[name][''] + 1
    end
  end
  return running
end

local function compare_shares(name)
  local there, kept, is_other = shares[name] or {}, call('HGETALL', key('shares', name)), false
  for i = 1, #kept, 2 do is_other = is_other or there[kept[i]] ~= tonumber(kept[i + 1]) end
  for tenant in pairs(there) do is_other = is_other or call('HEXISTS', key('shares', name), tenant) == 0 end
  if not is_other then return end
  if found[#found] ~= name then note('counts', name) end
  if not mends then return end
  call('DEL', key('shares', name))
  for tenant, number in pairs(there) do call('HSET', key('shares', name), tenant, number) end
end

-- What is other than it was when tasks of a queue have ended, or were forgotten, or begun anew. (What is forgotten
-- leaves a tombstone in one of two sets of the shard.)
local bucket = math.floor(now / TOMBSTONE)
local forgotten = {bucket, call('SCARD', P .. 'gone:' .. bucket), call('SCARD', P .. 'gone:' .. bucket - 1)}
local function mark_of(name)
  local row = call('HMGET', key('queue', name), 'in', 'c', 'x', 'd', 'k', 'e')
  local parts = {unpack(forgotten)}
  for _, value in ipairs(row) do parts[#parts + 1] = value or '-' end
  local lanes = call('HKEYS', key('ends', name))
  table.sort(lanes)
  for _, lane in ipairs(lanes) do
    local newest = call('XREVRANGE', end_key(name, lane), '+', '-', 'COUNT', 1)[1]
    parts[#parts + 1] = lane .. ' ' .. (newest and newest[1] or '')
  end
  return redis.sha1hex(table.concat(parts, '\n'))
end

local running = runs and count_running()
for i = 4, #ARGV, 7 do
  local name = ARGV[i]
  local mark = mark_of(name)
  local is_whole = (not waits or compare_waiting(name)) and (not runs or running)
  if running then
    compare(name, 'r', running[name] or 0)
    compare_shares(name)
  end
  if ARGV[i + 1] ~= '' then
    if ARGV[i + 1] == mark then
      for n, field in ipairs({'c', 'x', 'd', 'k', 'e'}) do compare(name, field, tonumber(ARGV[i + 1 + n])) end
    else
      is_whole = false
    end
  end
  marks[#marks + 1] = mark
  if not is_whole then passed_over[#passed_over + 1] = name end
end
return {marks, found, passed_over}
