-- Forget a schedule. Said again after a lost reply it finds none.
-- KEYS  meta, nothing
-- ARGV  its name, a token of this call
-- Returns 1, or 0 where there is none of that name.
local done = key('done', ARGV[2])
if call('EXISTS', done) == 1 then return 1 end
call('ZREM', P .. 'schedules', ARGV[1])
if call('DEL', key('schedule', ARGV[1])) == 0 then return 0 end
call('SET', done, 1, 'PX', TOMBSTONE)
return 1
