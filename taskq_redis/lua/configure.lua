-- Change what is set for a queue, and have its workers look.
-- KEYS  meta, nothing
-- ARGV  queue, then fields and values ('' takes one back)
local name = ARGV[1]
for i = 2, #ARGV, 2 do
  if ARGV[i + 1] == '' then
    call('HDEL', key('queue', name), ARGV[i])
  else
    call('HSET', key('queue', name), ARGV[i], ARGV[i + 1])
  end
end
wake(name, TOKENS)
return 1
