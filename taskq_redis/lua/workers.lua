-- The workers that live.
-- KEYS  meta, nothing
-- Returns for each: what it says of itself, when it last did (ms).
local reply = {}
for _, worker in ipairs(call('ZRANGEBYSCORE', P .. 'workers', now, '+inf')) do
  local row = call('HMGET', key('worker', worker), 'info', 'seen')
  if row[1] then reply[#reply + 1] = row end
end
return reply
