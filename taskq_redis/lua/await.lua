-- How a task ended; where it has not, note that somebody waits, so that its end is published.
-- KEYS  meta, nothing
-- ARGV  id
-- Returns {} without a record, {state} before the end, else {state, fence, settled fence, result, failure, reason}.
local task = key('task', ARGV[1])
local v = call('HMGET', task, 's', 'f', 'sf', 'r', 'fl', 'rs', 'aw', 'z')
if not v[1] then return {} end
if v[1] == 'c' or v[1] == 'x' or v[1] == 'd' or v[1] == 'k' or v[1] == 'e' then
  return {v[1], v[2], v[3], v[4], v[5], v[6]}
end
if not v[7] then call('HSET', task, 'aw', '1') end
return {v[1]}
