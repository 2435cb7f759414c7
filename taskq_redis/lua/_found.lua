-- The indexes by which ended tasks are found. `ix` of a record says under what it is found, a line each: "<kind>:<value>",
-- kind n name, t tenant, g tag, e error, f fingerprint.

local FINAL = {'d', 'x', 'k', 'e', 'c'}
local PASSES = {k = true, e = true, c = true} -- what did not fail: of those only the newest are found

local function found_key(state, under) return P .. 'found:' .. state .. ':' .. under end

-- Under what an ended task is found; `v` are the fields b, o, fl, tg of its record.
local function found_under(v)
  local under = {'n:' .. string.match(v[1], '^[^\n]*')}
  local tenant = v[2] and string.match(v[2], '^%S+ %S+ %S+ %S+ (.+)$')
  if tenant then under[#under + 1] = 't:' .. tenant end
  if v[3] then
    local failure = cjson.decode(v[3])
    under[#under + 1] = 'e:' .. failure.type
    if failure.fingerprint then under[#under + 1] = 'f:' .. failure.fingerprint end
  end
  for _, tag in ipairs(v[4] and cjson.decode(v[4]) or {}) do under[#under + 1] = 'g:' .. tag end
  return under
end

-- A value that no ended task has any more is no longer told.
local function forget_value(under)
  local names = {}
  for i, state in ipairs(FINAL) do names[i] = found_key(state, under) end
  if call('EXISTS', unpack(names)) == 0 then
    call('ZREM', P .. 'values:' .. string.sub(under, 1, 1), string.sub(under, 3))
  end
end

-- A task is ended no more, or forgotten.
local function unfind(id, state, ix)
  for under in string.gmatch(ix or '', '[^\n]+') do
    local name = found_key(state, under)
    if call('ZREM', name, id) == 1 and call('EXISTS', name) == 0 then forget_value(under) end
  end
end
