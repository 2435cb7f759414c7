-- How limits stand, as tasks of a queue meet them.
-- KEYS  meta, nothing
-- ARGV  queue, names of gates …
-- Returns for each: how many wait at it, who holds it, the fields of its row.
local reply = {}
for i = 2, #ARGV do
  local name = ARGV[i]
  reply[i - 1] = {
    call('ZCARD', room_key(ARGV[1], name)), call('SMEMBERS', key('holders', name)), call('HGETALL', key('gate', name)),
  }
end
return reply
