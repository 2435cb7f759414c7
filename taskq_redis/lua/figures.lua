-- The rows of figures of one step, the oldest first.
-- KEYS  meta, nothing
-- ARGV  step, from which instant on, before which
-- Returns the instant and "<version> <data>" each.
local row, instants, rows = key('figures', ARGV[1]), {}, {}
local since, before = tonumber(ARGV[2]), tonumber(ARGV[3])
for _, at in ipairs(call('HKEYS', row)) do -- few: they are trimmed
  at = tonumber(at)
  if at >= since and at < before then instants[#instants + 1] = at end
end
table.sort(instants)
for i, at in ipairs(instants) do
  at = string.format('%.0f', at)
  rows[i] = {at, call('HGET', row, at)}
end
return rows
