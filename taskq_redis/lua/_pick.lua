-- Which tasks of a queue come next, without moving any: the order of taskq.domain.routing.
-- Lanes are only ever taken from at their heads, so that what was picked is a prefix of each. That the lane of a tenant is
-- to be shut is seen when it is first looked at.

local function entry_ms(entry) return tonumber(string.sub(entry[1], 1, string.find(entry[1], '-', 1, true) - 1)) end

-- Those of one priority that were let out of a room, as if they were a lane.
local function load_cleared(lane, wanted)
  local low = (3 - lane.priority) * 1e13
  local range = {string.format('%.0f', low), string.format('(%.0f', low + 1e13)}
  local found = call('ZRANGEBYSCORE', lane.stream, range[1], range[2], 'WITHSCORES', 'LIMIT', 0, wanted)
  lane.entries = {}
  for i = 1, #found, 2 do
    local ready_at = string.format('%.0f-0', found[i + 1] - low)
    lane.entries[#lane.entries + 1] = {ready_at, {'i', string.sub(found[i], 7)}, found[i]}
  end
end

-- Have the first `wanted` entries of a lane at hand; none of one that is shut, now or before.
local function load(lane, wanted)
  if lane.is_whole or lane.is_shut or #lane.entries >= wanted then return end
  if lane.is_to_shut and #lane.entries == 0 and lane.is_to_shut(lane.queue, lane.group) then
    lane.is_shut = true
    call('ZADD', key('lanes', lane.queue), 'XX', SHUT + 3 - string.sub(lane.name, 1, 1), lane.name)
    return
  end
  if lane.is_cleared then
    load_cleared(lane, wanted)
    lane.is_whole = #lane.entries < wanted
    return
  end
  lane.entries = call('XRANGE', lane.stream, '-', '+', 'COUNT', wanted)
  lane.is_whole = #lane.entries < wanted
end

local function take(lane, picks)
  lane.taken = lane.taken + 1
  picks[#picks + 1] = lane.entries[lane.taken][2][2]
end

-- Up to `quota` tasks, each from the lane whose head has waited longest, if longer than `aging` ms. Usually none has: so
-- the heads are read alone, and more only of a lane that has won.
local function pick_aged(lanes, quota, aging, picks)
  for _ = 1, quota do
    local oldest, oldest_ms
    for _, lane in ipairs(lanes) do
      load(lane, lane.taken == 0 and 1 or quota)
      local head = lane.entries[lane.taken + 1]
      local ms = head and entry_ms(head)
      if ms and now - ms > aging and (not oldest or ms < oldest_ms) then oldest, oldest_ms = lane, ms end
    end
    if not oldest then return end
    take(oldest, picks)
  end
end

-- Up to `wanted` tasks of lanes that take turns, in this order; returns the group served last, nil for none.
local function pick_by_turns(lanes, wanted, picks)
  local turn, empty, served = 1, 0, nil
  while wanted > 0 and empty < #lanes do
    local lane = lanes[turn]
    load(lane, lane.taken + math.ceil(wanted / #lanes))
    if lane.taken < #lane.entries then
      take(lane, picks)
      wanted, empty, served = wanted - 1, 0, lane.group
    else
      empty = empty + 1
    end
    turn = turn % #lanes + 1
  end
  return served
end

-- The lanes of one priority in the order of their turns, from the one after the group that was served last; of very many
-- those whose turn is near.
local function lanes_in_turn(name, priority, served, wanted, is_to_shut)
  local zset, score = key('lanes', name), 3 - priority
  local number = call('ZCOUNT', zset, score, score)
  if number == 0 then return {} end
  local most = math.min(number, 2 * wanted + LANES_AT_ONCE)
  local first = call('ZCOUNT', zset, '-inf', '(' .. score)
  local from = 0
  if served then
    local lane = priority .. ':' .. served
    local rank = call('ZRANK', zset, lane)
    if rank and rank < first + number then
      from = rank - first + 1
    else
      -- Where it would stand: a zset does not tell that of what it does not hold, or holds among those that are shut.
      local guest = lane .. '\0'
      call('ZADD', zset, score, guest)
      from = call('ZRANK', zset, guest) - first
      call('ZREM', zset, guest)
    end
  end
  if from >= number then from = 0 end
  local names = call('ZRANGE', zset, first + from, first + math.min(from + most, number) - 1)
  local rest = math.min(most - #names, from)
  if rest > 0 then
    for _, lane in ipairs(call('ZRANGE', zset, first, first + rest - 1)) do names[#names + 1] = lane end
  end
  local lanes = {}
  for i, lane in ipairs(names) do
    local group = string.sub(lane, 3)
    lanes[i] = {queue = name, name = lane, group = group, stream = lane_key(name, lane), entries = {}, taken = 0,
      is_to_shut = group ~= '' and is_to_shut}
  end
  return lanes
end

-- Lanes in their order, apart: of those tenants that have much (taskq.domain.routing.is_noisy), and of the others.
local function apart(name, lanes)
  local shares = key('shares', name)
  local total = tonumber(call('HGET', shares, '') or 0)
  if total < NOISY_LEAST or #lanes == 0 then return lanes, {} end
  local quiet, noisy, groups = {}, {}, {}
  for i, lane in ipairs(lanes) do groups[i] = lane.group end
  local running = call('HMGET', shares, unpack(groups))
  for i, lane in ipairs(lanes) do
    local number, quota = lane.group ~= '' and tonumber(running[i]) or 0, quota_of(lane.group)
    local is_noisy = number >= NOISY_LEAST and number > NOISY_SHARE * (quota and quota[1] or 1) * total
    table.insert(is_noisy and noisy or quiet, lane)
  end
  return quiet, noisy
end

-- `row` keeps, for each priority, the group served last; only groups with a name pay for that. `is_to_shut` says of which
-- tenants nothing is wanted: their lanes are shut then.
-- Returns the ids, how many of them come from the front lane, and the lanes with `taken` entries each.
local function pick(name, wanted, quota, aging, row, has_cleared, is_to_shut)
  local picks = {}
  local front = call('ZRANGE', key('front', name), 0, wanted - 1)
  for i, member in ipairs(front) do picks[i] = string.sub(member, 7) end
  if #picks >= wanted then return picks, #front, {} end
  local lanes, by_priority, cleared = {}, {}, {}
  for priority = 0, has_cleared and 3 or -1 do
    local lane = {priority = priority, stream = key('cleared', name), entries = {}, taken = 0, is_cleared = true}
    lanes[#lanes + 1] = lane
    cleared[priority] = lane
  end
  for priority = 3, 0, -1 do
    local served = row['g' .. priority] or call('HGET', key('queue', name), 'g' .. priority) or nil
    local peers = lanes_in_turn(name, priority, served, wanted, is_to_shut)
    by_priority[priority] = peers
    for _, lane in ipairs(peers) do lanes[#lanes + 1] = lane end
  end
  if #lanes > 1 then pick_aged(lanes, math.min(quota, wanted - #picks), aging, picks) end
  for priority = 3, 0, -1 do
    local peers, freed = by_priority[priority], cleared[priority]
    if freed and #picks < wanted then
      load(freed, freed.taken + wanted - #picks)
      while freed.taken < #freed.entries and #picks < wanted do take(freed, picks) end
    end
    if #peers > 0 and #picks < wanted then
      local has_turns = #peers > 1 or peers[1].group ~= ''
      local quiet, noisy = apart(name, peers)
      local served = pick_by_turns(quiet, wanted - #picks, picks)
      if #picks < wanted and #noisy > 0 then served = pick_by_turns(noisy, wanted - #picks, picks) or served end
      if has_turns and served then row['g' .. priority] = served end
    end
  end
  return picks, #front, lanes
end
