-- Undo a pause.
-- KEYS  meta
-- ARGV  queue
local name = ARGV[1]
call('HDEL', key('queue', name), 'pr', 'pu')
wake(name, TOKENS)
return 1
