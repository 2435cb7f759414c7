-- Put tasks that have ended into the indexes by which they are found: of each state those that ended first.
-- KEYS  meta, nothing
-- ARGV  limit, queues …
-- Returns how many ended tasks were looked at, and since when (ms) one may have ended that is not in them yet, or ''.
local HASTE = 10000 -- ms behind which the index of a queue that forgets by count must not fall
local MOST_READ = 4000000 -- bytes of bodies that one call reads
local left, read = tonumber(ARGV[1]), 0
local waiting = ''
local touched = {}

local function find_by(id, state, ended_at)
  local task = key('task', id)
  local v = call('HMGET', task, 's', 'z')
  if v[1] ~= state or v[2] ~= ended_at then return end
  v = call('HMGET', task, 'b', 'o', 'fl', 'tg')
  read = read + #v[1]
  local under = found_under(v)
  for _, one in ipairs(under) do
    local name = found_key(state, one)
    call('ZADD', name, ended_at, id)
    if not touched[name] then
      touched[name] = state
      call('ZADD', P .. 'values:' .. string.sub(one, 1, 1), 0, string.sub(one, 3))
    end
  end
  call('HSET', task, 'ix', table.concat(under, '\n'))
end

-- Where so many end that they are forgotten before they are in the index, it goes on with those that end now.
local function leap(name, lane, ended_at)
  if not PASSES[string.sub(lane, 1, 1)] or tonumber(ended_at) > now - HASTE then return false end
  local row = call('HMGET', key('queue', name), 'mf', 'c', 'x', 'k', 'e')
  local kept = (row[2] or 0) + (row[3] or 0) + (row[4] or 0) + (row[5] or 0)
  if kept < 0.9 * (tonumber(row[1]) or MAX_FINISHED) then return false end
  local since = now - HASTE / 2
  call('HSET', key('indexed', name), lane, since .. '-0')
  call('HSET', KEYS[1], 'found since', since)
  return true
end

local function go_through(name, lane)
  local stream, state = end_key(name, lane), string.sub(lane, 1, 1)
  local after = call('HGET', key('indexed', name), lane) or '0-0'
  while true do
    local entry = call('XRANGE', stream, '(' .. after, '+', 'COUNT', 1)[1]
    if not entry then return end
    local ended_at, ids = entry[2][2], entry[2][4]
    if left <= 0 or read > MOST_READ then
      if waiting == '' or tonumber(ended_at) < tonumber(waiting) then waiting = ended_at end
      return
    end
    if leap(name, lane, ended_at) then
      after = call('HGET', key('indexed', name), lane)
    else
      for id in string.gmatch(ids, '[^,]+') do
        find_by(id, state, ended_at)
        left = left - 1
      end
      after = entry[1]
      call('HSET', key('indexed', name), lane, after)
    end
  end
end

for _, state in ipairs(FINAL) do
  for i = 2, #ARGV do
    for _, lane in ipairs(call('HKEYS', key('ends', ARGV[i]))) do
      if string.sub(lane, 1, 1) == state then go_through(ARGV[i], lane) end
    end
  end
end
-- Of what did not fail only the newest are found under one value.
for name, state in pairs(touched) do
  if PASSES[state] and call('ZCARD', name) > FOUND_MOST then
    call('ZREMRANGEBYRANK', name, 0, -FOUND_MOST - 1)
  end
end
return {ARGV[1] - left, waiting}
