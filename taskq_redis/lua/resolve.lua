-- Tell children of this shard that parents in others have ended.
-- KEYS  meta, nothing
-- ARGV  for each: child, parent, the state in which it has ended, c, r or f for what the edge says
-- Returns 1 if something is left for relay.lua.
tell(ARGV)
flush_joins()
flush()
return is_more and 1 or 0
