-- What is set for tenants, in the order of their names.
-- KEYS  meta, nothing
-- ARGV  from where on ('-', or '(' and a name), how many
-- Returns a name and what is set (_tenants.lua) each.
local rows = {}
for _, tenant in ipairs(call('ZRANGEBYLEX', P .. 'tenants', ARGV[1], '+', 'LIMIT', 0, ARGV[2])) do
  rows[#rows + 1], rows[#rows + 2] = tenant, call('HGET', P .. 'quotas', tenant)
end
return rows
