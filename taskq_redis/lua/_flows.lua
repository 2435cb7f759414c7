-- What the scripts about flows share.

-- Forget how far the cancel of a flow has come.
local function forget_sweep(name)
  for _, field in ipairs(call('HKEYS', name)) do
    if field == 'cd' or string.find(field, '^cx%d') then call('HDEL', name, field) end
  end
end
