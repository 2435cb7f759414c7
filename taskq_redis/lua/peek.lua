-- The ids that the next claims of a queue would take, in their order.
-- KEYS  meta, nothing
-- ARGV  queue, limit
local ids = pick(ARGV[1], tonumber(ARGV[2]), 0, math.huge, {}, true)
return ids
