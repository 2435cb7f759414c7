-- Forget a document of a version.
-- KEYS  meta, nothing
-- ARGV  kind, id, version
-- Returns 1, or 0 where another one is there.
local row = key('docs', ARGV[1])
local known = call('HGET', row, ARGV[2])
if known and string.match(known, '^%d+') ~= ARGV[3] then return 0 end
call('HDEL', row, ARGV[2])
call('ZREM', key('docids', ARGV[1]), ARGV[2])
return 1
