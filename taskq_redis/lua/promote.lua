-- SCHEDULED and RETRYING tasks that are due → the tail of their lanes.
-- KEYS  meta, nothing
-- ARGV  limit, queues …
-- Returns how many.
local left = tonumber(ARGV[1])
for i = 2, #ARGV do
  if left > 0 then left = left - promote(ARGV[i], left) end
end
flush()
return ARGV[1] - left
