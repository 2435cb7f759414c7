-- Documents of a kind in the order of their ids.
-- KEYS  meta, nothing
-- ARGV  kind, from where on ('-', or '(' and an id), how many
-- Returns an id and "<version> <data>" each.
local rows = {}
for _, id in ipairs(call('ZRANGEBYLEX', key('docids', ARGV[1]), ARGV[2], '+', 'LIMIT', 0, ARGV[3])) do
  rows[#rows + 1], rows[#rows + 2] = id, call('HGET', key('docs', ARGV[1]), id)
end
return rows
