-- Leave figures to be rolled up.
-- KEYS  meta, nothing
-- ARGV  id, data, how much may be left
if call('HSETNX', P .. 'left', ARGV[1], ARGV[2]) == 0 then return 0 end
call('ZADD', P .. 'lefts', now, ARGV[1])
local over = call('ZCARD', P .. 'lefts') - ARGV[3]
if over > 0 then
  local oldest = call('ZPOPMIN', P .. 'lefts', over)
  for i = 1, #oldest, 2 do call('HDEL', P .. 'left', oldest[i]) end
end
return 1
