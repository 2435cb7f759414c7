-- Schedules: those that are due, all of them, or one.
-- KEYS  meta, nothing
-- ARGV  'due' and how many, 'all', or 'one' and its name
-- Returns the clock (µs), {name, queue, spec, state, due (µs) or '', revision} each, and for 'due' the instant (µs) at
-- which the next one is that is not among them, or ''.
local clock = time[1] .. string.format('%06d', time[2])
local names, following = {}, ''
if ARGV[1] == 'due' then
  local first = call('ZRANGEBYSCORE', P .. 'schedules', '-inf', '(+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[2] + 1)
  for i = 1, #first, 2 do
    if (i + 1) / 2 > tonumber(ARGV[2]) or tonumber(first[i + 1]) > tonumber(clock) then
      following = string.format('%.0f', first[i + 1])
      break
    end
    names[#names + 1] = first[i]
  end
elseif ARGV[1] == 'all' then
  names = call('ZRANGE', P .. 'schedules', 0, -1)
else
  names = {ARGV[2]}
end

local rows = {}
for _, name in ipairs(names) do
  local v = call('HMGET', key('schedule', name), 'q', 'sp', 'st', 'n', 'r')
  if v[1] then rows[#rows + 1] = {name, unpack(v)} end
end
return {clock, rows, following}
