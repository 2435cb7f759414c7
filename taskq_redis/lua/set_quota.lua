-- Set what a tenant may have. Those that wait for it are looked at by the next claims.
-- KEYS  meta, nothing
-- ARGV  tenant, what is set (_tenants.lua) or '' for nothing
local tenant, text = ARGV[1], ARGV[2]
if text == '' then
  call('HDEL', P .. 'quotas', tenant)
  call('ZREM', P .. 'tenants', tenant)
else
  call('HSET', P .. 'quotas', tenant, text)
  call('ZADD', P .. 'tenants', 0, tenant)
end
for _, kind in ipairs({'c', 'r'}) do
  local gate = kind .. ':@' .. tenant
  for _, queue in ipairs(call('SMEMBERS', key('rooms', gate))) do
    call('ZADD', key('gates', queue), 0, gate)
    wake(queue, 1)
  end
end
return 1
