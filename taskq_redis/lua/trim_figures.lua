-- Forget the rows of figures of one step that begin before an instant.
-- KEYS  meta, nothing
-- ARGV  step, instant
-- Returns how many.
local row, before, gone = key('figures', ARGV[1]), tonumber(ARGV[2]), {}
for _, at in ipairs(call('HKEYS', row)) do
  if tonumber(at) < before then gone[#gone + 1] = at end
end
in_slices('HDEL', row, gone)
return #gone
