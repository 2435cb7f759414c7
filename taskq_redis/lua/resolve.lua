-- Tell children of this shard that parents in others have ended.
-- KEYS  meta, nothing
-- ARGV  for each: child, parent, the state in which it has ended, c, r or f for what the edge says
-- Returns 1 if something is left for relay.lua.
local rows = {}
for i = 1, #ARGV, 4 do rows[#rows + 1] = {ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]} end
tell(rows)
flush_joins()
flush()
return is_more and 1 or 0
