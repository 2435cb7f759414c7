-- A stream remembers the id of its newest entry, also where that was trimmed.
local function newest_of(stream)
  if call('EXISTS', stream) == 0 then return 0 end
  local facts = call('XINFO', 'STREAM', stream)
  for i = 1, #facts, 2 do
    if facts[i] == 'last-generated-id' then return tonumber(string.match(facts[i + 1], '^%d+')) end
  end
end
