-- Look whether flows count as many pending members in this shard as they have.
-- KEYS  meta, nothing
-- ARGV  1 to mend or '', ids …
-- Returns {kind of damage, id, …}.
local MOST_MEMBERS = 1000

local function judge(id)
  local flow, members = key('flow', id), key('members', id)
  if call('LLEN', members) > MOST_MEMBERS then return end
  local v = call('HMGET', flow, 'n', 'c', 'x', 'k')
  local pending, live = (v[1] or 0) - (v[2] or 0) - (v[3] or 0) - (v[4] or 0), 0
  for _, member in ipairs(call('LRANGE', members, 0, -1)) do
    local state = call('HGET', key('task', member), 's')
    if state == 'r' or WAITS[state or ''] then live = live + 1 end
  end
  if pending == live then return end
  note('flows', id)
  if not mends then return end
  -- Members that are gone have not completed; those that were not counted have come.
  if pending > live then
    call('HINCRBY', flow, 'x', pending - live)
  else
    call('HINCRBY', flow, 'n', live - pending)
  end
  call('ZADD', P .. 'looks', now, id)
end

for i = 2, #ARGV do judge(ARGV[i]) end
return found
