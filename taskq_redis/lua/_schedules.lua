-- Write schedules, and go on with enqueue.lua for what fires of those that are written.
-- KEYS  meta, nothing
-- ARGV  for each schedule: name, queue, spec, state, the instant (µs) at which it is due or '', the revision on which it
--       is based, the number of arguments that follow, arguments of enqueue.lua from the fifth on
-- `written` has 1 for each that was written, 0 where somebody else has written it meanwhile.
local fires = {'', '', '', ''}

-- Whether the schedule may be written, or is as it would be: this is said again then.
local function may_write(name, queue, spec, state, next_at, revision)
  local v = call('HMGET', name, 'r', 'q', 'sp', 'st', 'n')
  if (v[1] or '0') == revision then return true end
  return v[1] == string.format('%.0f', revision + 1) and v[2] == queue and v[3] == spec and v[4] == state
    and v[5] == next_at
end

local place = 1
while place <= #ARGV do
  local name, queue, spec, state, next_at, revision, count = unpack(ARGV, place, place + 6)
  local is_ours = may_write(key('schedule', name), queue, spec, state, next_at, revision)
  written[#written + 1] = is_ours and 1 or 0
  if is_ours then
    call('HSET', key('schedule', name), 'q', queue, 'sp', spec, 'st', state, 'n', next_at,
      'r', string.format('%.0f', revision + 1))
    call('ZADD', P .. 'schedules', next_at ~= '' and next_at or '+inf', name)
    for i = place + 7, place + 6 + count do fires[#fires + 1] = ARGV[i] end
  end
  place = place + 7 + count
end

local ARGV = fires

