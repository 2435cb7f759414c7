-- Write a document whole, where it still has the version on which it is based.
-- KEYS  meta, nothing
-- ARGV  kind, id, version, data
-- Returns 1, or 0 where another one is there.
local row, after = key('docs', ARGV[1]), ARGV[3] + 1 .. ' ' .. ARGV[4]
local known = call('HGET', row, ARGV[2])
if known == after then return 1 end
if (known and string.match(known, '^%d+') or '0') ~= ARGV[3] then return 0 end
call('HSET', row, ARGV[2], after)
call('ZADD', key('docids', ARGV[1]), 0, ARGV[2])
return 1
