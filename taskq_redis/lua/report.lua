-- A worker says that it lives, and takes what it is told.
-- KEYS  meta, nothing
-- ARGV  worker, time to live ms, request id, what it says of itself
-- Returns what it is told; the same again for the same request id, whose reply was lost.
local worker, ttl = ARGV[1], tonumber(ARGV[2])
local row, orders = key('worker', worker), key('orders', worker)
local last = call('HMGET', row, 'request', 'told')
local told = last[2]
if last[1] ~= ARGV[3] then
  told = table.concat(call('LRANGE', orders, 0, -1), '\n')
  call('DEL', orders)
end
call('HSET', row, 'request', ARGV[3], 'told', told, 'info', ARGV[4], 'seen', now)
call('PEXPIRE', row, ttl)
call('ZADD', P .. 'workers', now + ttl, worker)
call('ZREMRANGEBYSCORE', P .. 'workers', '-inf', '(' .. now)
return told
