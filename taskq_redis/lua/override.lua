-- Have something hold for a gate instead of what tasks bring along, or take it back.
-- KEYS  meta, nothing
-- ARGV  its name, what holds as JSON ('' takes it back)
-- Returns whether anything held for it before.
local name, text = ARGV[1], ARGV[2]
local rows = call('HGETALL', P .. 'overrides')
local held = 0
for i = 1, #rows, 2 do
  local ends = cjson.decode(rows[i + 1])['until']
  if ends and ends <= seconds then call('HDEL', P .. 'overrides', rows[i]) elseif rows[i] == name then held = 1 end
end
if text == '' then call('HDEL', P .. 'overrides', name) else call('HSET', P .. 'overrides', name, text) end
-- Who waits at one of its gates is looked at by the next claims.
for _, queue in ipairs(call('SMEMBERS', P .. 'queues')) do
  for _, gate in ipairs(call('ZRANGE', key('gates', queue), 0, -1)) do
    if gate == name or all_keys_of(gate) == name then open_gate(gate) end
  end
end
flush()
return held
