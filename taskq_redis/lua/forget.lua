-- A worker has stopped in good order.
-- KEYS  meta, nothing
-- ARGV  worker
call('DEL', key('worker', ARGV[1]), key('orders', ARGV[1]), key('claim', ARGV[1]))
call('ZREM', P .. 'workers', ARGV[1])
return 1
