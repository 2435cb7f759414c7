-- Look whether records are where their states say, and put them there.
-- KEYS  meta, nothing
-- ARGV  1 to mend or '', ids …
-- Returns {for each id its state and its queue, in one text, '' without a record}, {kind of damage, id, …}.
local PLACES = {f = 'front', a = 'cleared', s = 'due', t = 'retry', b = 'blocked'}
local parents_left = 1000 -- that this script may still look at; of a task with more nothing is said
local ENDS_READ, MOST_READS = 5, 200 -- entries of a stream of ended tasks, and how often so many

-- A lane that is shut is so for those of its tenant that wait in a room of the queue.
local function is_lane(name, lane)
  local score, tenant = call('ZSCORE', key('lanes', name), lane), string.sub(lane, 3)
  return score and (tonumber(score) < SHUT
    or call('EXISTS', room_key(name, 'c:@' .. tenant), room_key(name, 'r:@' .. tenant)) > 0)
end

local function is_placed(id, v)
  if v.s == 's' or v.s == 't' or v.s == 'b' then return call('ZSCORE', key(PLACES[v.s], v.q), id) end
  if not is_entry(v.e) then return false end
  if v.s == 'p' then
    local entry = call('XRANGE', lane_key(v.q, v.l), v.e, v.e)[1]
    return entry and entry[2][2] == id and is_lane(v.q, v.l)
  end
  local member = front_member(v.e, id)
  if v.s ~= 'g' then return call('ZSCORE', key(PLACES[v.s], v.q), member) end
  return v.rm and call('ZSCORE', room_key(v.q, v.rm), member) and call('ZSCORE', key('gates', v.q), v.rm)
    and call('SISMEMBER', key('rooms', v.rm), v.q) == 1
end

-- Back to where it was. What cannot be there any more goes to the tail of its lane. recount.lua counts it.
local function put_back(id, v)
  local task = key('task', id)
  if v.s == 's' or v.s == 't' then
    local due = v.d or now
    call('HSET', task, 'd', due)
    call('ZADD', key(PLACES[v.s], v.q), due, id)
  elseif v.s == 'b' then
    call('ZADD', key('blocked', v.q), v.c, id)
  elseif v.s ~= 'p' and is_entry(v.e) and (v.s ~= 'g' or v.rm and holds_slot(v.tl, v.g, v.rm)) then
    local place = v.s == 'g' and room_key(v.q, v.rm) or key(PLACES[v.s], v.q)
    call('ZADD', place, front_score(v.l, v.e), front_member(v.e, id))
    if v.s == 'g' then
      call('ZADD', key('gates', v.q), 0, v.rm)
      call('SADD', key('rooms', v.rm), v.q)
    end
  else
    if v.s == 'p' and is_entry(v.e) then call('XDEL', lane_key(v.q, v.l), v.e) end
    local queue = queue_of(v.q)
    local entry = to_lane(queue, v.l, id)
    open_lanes(v.q, string.sub(v.l, 3))
    count(queue, 'w', -1)
    call('HSET', task, 's', 'p', 'e', entry)
  end
  wake(v.q, 1)
end

-- ------------------------------------------------------------ what it waits for

-- Whether the end of a parent of this shard will be told, or is about to be.
local function will_tell(parent, child, policy)
  local state = call('HGET', key('task', parent), 's')
  local is_live = state == 'r' or WAITS[state or '']
  if not state then
    local flow = call('HMGET', key('flow', parent), 'at', 'cl', 'cr')
    if flow[3] then return true end -- its members are cancelled one by one
    is_live = flow[1] and not flow[2]
  end
  if is_live then return call('SISMEMBER', key('children', parent), policy .. child) == 1 end
  for _, ended in ipairs({'c', 'x', 'd', 'k', 'e'}) do
    if call('ZSCORE', P .. 'out', ended .. parent) then return true end
  end
  return false
end

local function will_hear(id, v)
  if call('ZSCORE', P .. 'unsure', id) then return true end
  local waits = key('waits', id)
  local number = call('SCARD', waits)
  if number == 0 then return false end
  if number > parents_left then return true end
  parents_left = parents_left - number
  local policies = {}
  for policy, parent in string.gmatch(v.pa or '', '(%a)([^,]+)') do policies[parent] = policy end
  for _, parent in ipairs(call('SMEMBERS', waits)) do
    if is_here(parent) and not will_tell(parent, id, policies[parent] or 'c') then return false end
  end
  return true
end

-- Have it ask its parents anew (relay.lua). One that is not known any more has told it all that it had to tell.
local function ask_anew(id, v)
  local waits, known = key('waits', id), {}
  for parent in string.gmatch(v.pa or '', '%a([^,]+)') do
    if not is_here(parent) or call('EXISTS', key('task', parent), key('flow', parent)) > 0 then
      known[#known + 1] = parent
    end
  end
  call('DEL', waits)
  if #known == 0 then
    unblock(id)
  else
    in_slices('SADD', waits, known)
    call('ZADD', P .. 'unsure', 0, id)
  end
end

-- ------------------------------------------------------------ the rest of a record

-- Whether a stream of ended tasks has an entry with the id, from an instant on.
local function is_in_stream(stream, from, id, ended_at)
  for _ = 1, MOST_READS do
    local entries = call('XRANGE', stream, from, '+', 'COUNT', ENDS_READ)
    for _, entry in ipairs(entries) do
      if entry[2][2] == ended_at and string.find(entry[2][4], id, 1, true) then return true end
      if tonumber(entry[2][2]) > ended_at + SLACK then return false end
      from = '(' .. entry[1]
    end
    if #entries < ENDS_READ then return false end
  end
  return true -- too many ended in that moment
end

-- An entry is as a rule the first one of the instant of the end, or a few ms off.
local function is_forgettable(id, v, lane)
  if call('HEXISTS', key('ends', v.q), lane) == 0 then return false end
  local stream = end_key(v.q, lane)
  local first = call('XRANGE', stream, v.z, '+', 'COUNT', 1)[1]
  if first and first[2][2] == v.z and string.find(first[2][4], id, 1, true) then return true end
  return is_in_stream(stream, string.format('%.0f', v.z - 5), id, v.z)
end

local function judge_ended(id, v)
  local _, retention = options_of(v.o)
  if v.s == 'd' then retention = math.max(retention, DEAD_RETENTION) end
  local lane = v.s .. ':' .. retention
  if is_forgettable(id, v, lane) then return end
  note('ended', id)
  if mends then
    call('XADD', end_key(v.q, lane), '*', 'z', v.z, 'i', id)
    call('HSETNX', key('ends', v.q), lane, 0)
  end
end

local function judge_run(id, v)
  local lease = id .. ':' .. (v.f or '') .. ':' .. (v.w or '')
  if not call('ZSCORE', P .. 'leases', lease) then
    note('leases.missing', id)
    if mends then call('ZADD', P .. 'leases', now, lease) end
  end
  for _, limit in ipairs(limits_of(v.tl, v.g)) do
    local holders = key('holders', limit[1] .. ':' .. limit[2])
    if limit[1] == 'c' and call('SISMEMBER', holders, id) == 0 then
      note('limits.missing', id)
      if mends then call('SADD', holders, id) end
    end
  end
end

local function judge_key(id, v)
  local letter, ttl, name = string.match(v.un, '^(%a) (%S+) (.*)$')
  if ttl ~= '-' or letter == 't' or (letter == 's' and v.f) then return end
  if call('GET', key('unique', name)) == letter .. id or owner_of(name, id) then return end
  note('unique.missing', id)
  if mends then take_key(id, v.un) end
end

local function judge_waiting(id, v)
  if not is_placed(id, v) then
    note('places.missing', id)
    if mends then put_back(id, v) end
  end
  local expires = options_of(v.o)
  if expires and not call('ZSCORE', P .. 'expiring', id) then
    note('expiry', id)
    if mends then call('ZADD', P .. 'expiring', expires, id) end
  end
  if v.s == 'b' and not will_hear(id, v) then
    note('parents', id)
    if mends then ask_anew(id, v) end
  end
end

local FIELDS = {'s', 'q', 'l', 'e', 'd', 'c', 'f', 'w', 'o', 'g', 'rm', 'un', 'pa', 'z', 'tl'}

local function judge(id, v)
  v.l = v.l or '1:'
  if call('SISMEMBER', P .. 'queues', v.q) == 0 then
    note('queues.missing', id)
    if mends then call('SADD', P .. 'queues', v.q) end
  end
  if WAITS[v.s] then
    judge_waiting(id, v)
  elseif v.s == 'r' then
    judge_run(id, v)
  elseif v.z then
    judge_ended(id, v)
  end
  if v.un and (v.s == 'r' or WAITS[v.s]) then judge_key(id, v) end
end

-- What an id is the record of; one that is none of ours must not keep us from the others.
local function read(id)
  local v = {}
  for n, value in ipairs(call('HMGET', key('task', id), unpack(FIELDS))) do v[FIELDS[n]] = value end
  return v
end

local facts = {}
for i = 2, #ARGV do
  local id = ARGV[i]
  local is_read, v = pcall(read, id)
  local is_record = is_read and v.s and v.q
  facts[i - 1] = is_record and v.s .. v.q or ''
  if not is_read or (is_record and not pcall(judge, id, v)) then note('records.unreadable', id) end
end
flush_joins()
flush()
return {facts, found}
