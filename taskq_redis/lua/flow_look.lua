-- See whether a flow has ended, and which of its callbacks are due (taskq.domain.flow.due_callbacks).
-- KEYS  meta, nothing
-- ARGV  id, and the numbers of the other shards together: total, completed, failed, cancelled
-- Returns {} where it is not known, else {1 if nothing is pending, its retention, 1 if members are still to be cancelled,
-- then for each callback that is due its letter and the message}.
local id = ARGV[1]
local name = key('flow', id)
local v = call('HMGET', name, 'at', 'n', 'c', 'x', 'k', 'cl', 'cr', 'fd', 'rt', 'en', 'cd', 'pt')
if not v[1] then return {} end
local sums = {}
for i = 1, 4 do sums[i] = (v[i + 1] or 0) + ARGV[i + 1] end
local fired = v[8] or ''
local pending = sums[1] - sums[2] - sums[3] - sums[4]
local is_over = v[6] and pending == 0
if is_over and not v[10] then call('HSET', name, 'en', now) end
if not is_over and v[10] then call('HDEL', name, 'en') end
local due = {}
if sums[3] + sums[4] > 0 and not v[7] then due[#due + 1] = 'f' end
if is_over and sums[2] == sums[1] and not v[12] then due[#due + 1] = 's' end
if is_over then due[#due + 1] = 'c' end
local reply = {pending == 0 and 1 or 0, v[9], v[7] and not v[11] and 1 or 0}
for _, letter in ipairs(due) do
  if not string.find(fired, letter, 1, true) then
    local message = call('HGET', name, 'cb' .. letter)
    if message then
      reply[#reply + 1], reply[#reply + 2] = letter, message
    else
      fired = fired .. letter
      call('HSET', name, 'fd', fired)
    end
  end
end
return reply
