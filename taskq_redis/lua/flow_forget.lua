-- Forget what this shard keeps of a flow.
-- KEYS  meta, nothing
-- ARGV  id
-- Returns 1 if there was something.
local id = ARGV[1]
local was_there = call('EXISTS', key('flow', id))
for _, kind in ipairs({'flow', 'members', 'failed', 'children'}) do call('UNLINK', key(kind, id)) end
for _, kind in ipairs({'flows', 'held', 'looks'}) do call('ZREM', P .. kind, id) end
return was_there
