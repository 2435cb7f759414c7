-- Tenants (taskq.domain.tenants): a tenant is the group of its tasks' lanes. What is set for one is kept as "<weight>
-- <most unfinished or -> <most bytes or -> <the whole, of which this shard has a part> <its limits as JSON>".

local quotas, is_any_quota = {}, nil

-- {weight, unfinished, bytes, limits as JSON or nil} of a tenant, false where nothing is set.
local function quota_of(tenant)
  if is_any_quota == nil then is_any_quota = call('EXISTS', P .. 'quotas') == 1 end
  if not is_any_quota or tenant == '' then return false end
  if quotas[tenant] == nil then
    local text = call('HGET', P .. 'quotas', tenant)
    if text then
      local weight, unfinished, bytes, limits = string.match(text, '^(%S+) (%S+) (%S+) %S+ (.*)$')
      quotas[tenant] = {tonumber(weight), tonumber(unfinished), tonumber(bytes), limits ~= '[]' and limits or nil}
    else
      quotas[tenant] = false
    end
  end
  return quotas[tenant]
end

-- The limits that a tenant has itself.
local function own_limits(tenant)
  local quota = quota_of(tenant)
  if not quota or not quota[4] then return {} end
  quota.limits = quota.limits or cjson.decode(quota[4])
  return quota.limits
end
