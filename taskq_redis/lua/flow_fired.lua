-- Note that a callback was enqueued.
-- KEYS  meta, nothing
-- ARGV  id, the letter of the callback
local name = key('flow', ARGV[1])
local fired = call('HGET', name, 'fd') or ''
if call('HEXISTS', name, 'at') == 1 and not string.find(fired, ARGV[2], 1, true) then
  call('HSET', name, 'fd', fired .. ARGV[2])
end
return 1
