-- Write what a shard is laid out as, if nobody has, and read it.
-- KEYS  meta, nothing
-- ARGV  schema version, number of shards, an epoch for a new store
-- Returns schema version, number of shards, epoch.
call('HSETNX', KEYS[1], 'version', ARGV[1])
call('HSETNX', KEYS[1], 'shards', ARGV[2])
call('HSETNX', KEYS[1], 'epoch', ARGV[3])
return call('HMGET', KEYS[1], 'version', 'shards', 'epoch')
