-- Forget finished tasks by age and by count; a tombstone of each id stays.
-- KEYS  meta, nothing
-- ARGV  limit, queues …
-- Returns how many, and how many ids were looked at, which is what `limit` bounds: a redriven task is none any more.
local left = tonumber(ARGV[1])
local gone, keys = {}, {}

-- Forget a task if it still is what this entry says: a redriven one has moved on, and its id here is a dead letter's ghost.
local function forget(queue, state, ended_at, id)
  local task = key('task', id)
  local v = call('HMGET', task, 's', 'z', 'ix')
  if v[1] ~= state or v[2] ~= ended_at then return 0 end
  gone[#gone + 1] = id
  keys[#keys + 1] = task
  keys[#keys + 1] = key('log', id)
  count(queue, state, -1)
  unfind(id, state, v[3])
  call('UNLINK', task, key('log', id))
  return 1
end

-- The streams of a queue, those of dead letters or the others, each with its oldest entry.
local function streams_of(name, is_dead)
  local streams, all = {}, call('HGETALL', key('ends', name))
  for i = 1, #all, 2 do
    local state, retention = string.match(all[i], '^(.):(.+)$')
    if (state == 'd') == is_dead then
      streams[#streams + 1] = {lane = all[i], state = state, retention = tonumber(retention), skip = tonumber(all[i + 1])}
    end
  end
  table.sort(streams, function(a, b) return a.lane < b.lane end)
  return streams
end

local function load_head(name, stream)
  local head = call('XRANGE', end_key(name, stream.lane), '-', '+', 'COUNT', 1)[1]
  if not head then
    call('DEL', end_key(name, stream.lane))
    call('HDEL', key('ends', name), stream.lane)
    stream.head = nil
    return
  end
  stream.head, stream.ended_at, stream.ids = head[1], head[2][2], {}
  for id in string.gmatch(head[2][4], '[^,]+') do stream.ids[#stream.ids + 1] = id end
end

-- Forget up to `most` tasks of the stream's head; an entry that is used up goes. Returns how many were forgotten.
local function forget_head(queue, stream, most)
  local forgotten = 0
  while stream.skip < #stream.ids and forgotten < most and left > 0 do
    stream.skip = stream.skip + 1
    left = left - 1
    forgotten = forgotten + forget(queue, stream.state, stream.ended_at, stream.ids[stream.skip])
  end
  if stream.skip == #stream.ids then
    call('XDEL', end_key(queue.name, stream.lane), stream.head)
    stream.skip = 0
  end
  call('HSET', key('ends', queue.name), stream.lane, stream.skip)
  if stream.skip == 0 then load_head(queue.name, stream) end
  return forgotten
end

local function prune(name, is_dead, kept, most_kept)
  local queue, streams = queue_of(name), streams_of(name, is_dead)
  for _, stream in ipairs(streams) do
    load_head(name, stream)
    while stream.head and stream.ended_at + stream.retention <= now and left > 0 do
      kept = kept - forget_head(queue, stream, math.huge)
    end
  end
  while kept > most_kept and left > 0 do
    local oldest
    for _, stream in ipairs(streams) do
      if stream.head and (not oldest or tonumber(stream.ended_at) < tonumber(oldest.ended_at)) then oldest = stream end
    end
    if not oldest then return end
    kept = kept - forget_head(queue, oldest, kept - most_kept)
  end
end

for i = 2, #ARGV do
  local name = ARGV[i]
  local row = call('HMGET', key('queue', name), 'mf', 'c', 'x', 'k', 'e', 'd')
  local most = tonumber(row[1]) or MAX_FINISHED
  prune(name, false, (row[2] or 0) + (row[3] or 0) + (row[4] or 0) + (row[5] or 0), most)
  prune(name, true, tonumber(row[6]) or 0, most)
end
if #gone > 0 then
  local tombstones = P .. 'gone:' .. math.floor(now / TOMBSTONE)
  in_slices('SADD', tombstones, gone)
  call('PEXPIRE', tombstones, 2 * TOMBSTONE)
end
flush()
-- A queue without a trace of work is no longer listed; what is set for it stays.
for i = 2, #ARGV do
  local name = ARGV[i]
  local row = call('HMGET', key('queue', name), unpack(COUNTED))
  local is_empty = call('EXISTS', key('lanes', name), key('front', name), key('due', name), key('retry', name)) == 0
  for _, n in ipairs(row) do is_empty = is_empty and (not n or n == '0') end
  if is_empty then
    call('HDEL', key('queue', name), 'ag', 'g0', 'g1', 'g2', 'g3', 'pt', 'pn', 'in', unpack(COUNTED))
    call('SREM', P .. 'queues', name)
    -- What is left in its streams of ended tasks are ids that were redriven since.
    for _, lane in ipairs(call('HKEYS', key('ends', name))) do call('DEL', end_key(name, lane)) end
    call('DEL', key('ends', name), key('wake', name), key('indexed', name))
  end
end
return {#gone, ARGV[1] - left}
