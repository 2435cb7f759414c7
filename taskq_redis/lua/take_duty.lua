-- Take, or keep, a duty.
-- KEYS  meta, nothing
-- ARGV  its name, who asks, for how many ms, 0 to give it back
-- Returns 1 where it is theirs, else 0.
local name = key('duty', ARGV[1])
local holder = call('GET', name)
if holder and holder ~= ARGV[2] then return 0 end
if ARGV[3] == '0' then call('DEL', name) else call('SET', name, ARGV[2], 'PX', ARGV[3]) end
return 1
