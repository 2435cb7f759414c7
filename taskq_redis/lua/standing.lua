-- How queues stand.
-- KEYS  meta, nothing
-- ARGV  how many lanes and rooms of each to look at, queues …; none: all of the shard
-- Returns nil where these are too many for one call, else their names, and for each: tasks that came in; PENDING of priority 0 to 3; ms for which the oldest is ready, or -1.
local reach = ARGV[1] - 1
local bands = {} -- of a zset that is ordered as `front`, by priority
for priority = 0, 3 do
  local low = (3 - priority) * 1e13
  bands[priority] = {low, string.format('%.0f', low), string.format('(%.0f', low + 1e13)}
end

local function standing(name)
  local pending, oldest = {0, 0, 0, 0}, nil
  local function add(priority, number, since)
    pending[priority + 1] = pending[priority + 1] + number
    if since then oldest = math.min(oldest or since, since) end
  end

  local lanes = call('ZRANGE', key('lanes', name), 0, reach, 'WITHSCORES')
  for i = 1, #lanes, 2 do
    local lane = lanes[i]
    local stream = lane_key(name, lane)
    -- One that is shut waits for its tenant, as those in a room do.
    local head = tonumber(lanes[i + 1]) < SHUT and call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
    add(tonumber(string.sub(lane, 1, 1)), call('XLEN', stream), head and tonumber(string.match(head[1], '^%d+')))
  end
  local function add_bands(zset, is_free)
    for priority, band in pairs(bands) do
      local number = call('ZCOUNT', zset, band[2], band[3])
      local head = is_free and number > 0
        and call('ZRANGEBYSCORE', zset, band[2], band[3], 'WITHSCORES', 'LIMIT', 0, 1)
      add(priority, number, head and head[2] - band[1] or nil)
    end
  end
  add_bands(key('front', name), true)
  if tonumber(call('HGET', key('queue', name), 'gw') or 0) > 0 then
    add_bands(key('cleared', name), true)
    for _, gate in ipairs(call('ZRANGE', key('gates', name), 0, reach)) do add_bands(room_key(name, gate), false) end
  end
  local age = oldest and string.format('%.0f', math.max(0, now - oldest)) or -1
  return {call('HGET', key('queue', name), 'in') or 0, pending[1], pending[2], pending[3], pending[4], age}
end

local names, reply = queues_from(2), {}
if not names then return nil end
for i, name in ipairs(names) do reply[i] = standing(name) end
return {names, reply}
