-- Undo a pause.
-- KEYS  meta, nothing
-- ARGV  queue
local name = ARGV[1]
call('HDEL', key('queue', name), 'pr', 'pu')
wake(name, TOKENS)
return 1
