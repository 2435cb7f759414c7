-- What examines and mends has in common.

local mends = ARGV[1] == '1'
local found = {} -- kind of damage (taskq.ports.diagnosis.Damage), id, …

local function note(kind, id)
  found[#found + 1], found[#found + 2] = kind, id
end

local function is_entry(text) return text and string.find(text, '^%d+%-%d+$') ~= nil end

local function holds_slot(of_tenant, own, gate)
  for _, limit in ipairs(limits_of(of_tenant, own)) do
    if limit[1] .. ':' .. limit[2] == gate then return true end
  end
  return false
end
