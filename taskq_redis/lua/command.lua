-- Tell a worker something with its next report.
-- KEYS  meta, nothing
-- ARGV  worker, order, a token of this call
-- Returns 1, or 0 where no such worker lives.
local row, orders = key('worker', ARGV[1]), key('orders', ARGV[1])
local ttl = call('PTTL', row)
if ttl <= 0 then return 0 end
if is_repeat(row, ARGV[3]) then return 1 end
call('RPUSH', orders, ARGV[2])
call('LTRIM', orders, -100, -1)
call('PEXPIRE', orders, ttl)
return 1
