-- Forget tasks that have ended; a tombstone of each id stays. What is left of them in the streams of ended tasks goes with
-- the next pruning.
-- KEYS  meta, nothing
-- ARGV  a token of this call (a repeat after a lost reply is answered alike), ids …
-- Returns how many.
local done = key('done', ARGV[1])
local known = call('GET', done)
if known then return tonumber(known) end
local gone = {}
for i = 2, #ARGV do
  local id = ARGV[i]
  local v = call('HMGET', key('task', id), 's', 'q', 'ix')
  if v[1] and v[1] ~= 'r' and not WAITS[v[1]] then
    count(queue_of(v[2]), v[1], -1)
    unfind(id, v[1], v[3])
    call('UNLINK', key('task', id), key('log', id))
    gone[#gone + 1] = id
  end
end
if #gone > 0 then
  local tombstones = P .. 'gone:' .. math.floor(now / TOMBSTONE)
  in_slices('SADD', tombstones, gone)
  call('PEXPIRE', tombstones, 2 * TOMBSTONE)
  call('SET', done, #gone, 'PX', TOMBSTONE)
end
flush()
return #gone
