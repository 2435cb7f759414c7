-- Ended tasks by one value of one key.
-- KEYS  meta, nothing
-- ARGV  "<kind>:<value>", since (ms) or '-inf', until (ms, not with it) or '+inf', before which place: ms or '' and id,
--       limit, letters of states …
-- Returns since when (ms) they are in the index, or '', then an id and an instant (ms) each: of each state the newest.
local under, since, before = ARGV[1], ARGV[2], ARGV[4]
local newest = ARGV[3] == '+inf' and '+inf' or '(' .. ARGV[3]
local reply, from = {''}, 0
for i = 7, #ARGV do
  local name = found_key(ARGV[i], under)
  local top = newest
  if before ~= '' then
    -- Those of the same instant, by their ids.
    for _, id in ipairs(call('ZREVRANGEBYSCORE', name, before, before)) do
      if id < ARGV[5] then reply[#reply + 1], reply[#reply + 2] = id, before end
    end
    top = '(' .. before
  end
  local some = call('ZREVRANGEBYSCORE', name, top, since, 'WITHSCORES', 'LIMIT', 0, ARGV[6])
  for _, one in ipairs(some) do reply[#reply + 1] = one end
  if PASSES[ARGV[i]] then
    from = math.max(from, tonumber(call('HGET', KEYS[1], 'found since') or 0))
    local oldest = call('ZCARD', name) >= FOUND_MOST and call('ZRANGE', name, 0, 0, 'WITHSCORES')[2]
    if oldest then from = math.max(from, tonumber(oldest)) end
  end
end
if from > 0 then reply[1] = string.format('%.0f', from) end
return reply
