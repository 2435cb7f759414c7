-- The indexes by which ended tasks are found. `ix` of a record says under what it is found, a line each: "<kind>:<value>",
-- kind n name, t tenant, g tag, e error, f fingerprint.

local FINAL = {'d', 'x', 'k', 'e', 'c'}
local PASSES = {k = true, e = true, c = true} -- what did not fail: of those only the newest are found

local function found_key(state, under) return P .. 'found:' .. state .. ':' .. under end

-- A text as JSON has it between its quotes, without lines: the members of `ix` are parted by them. What cannot be decoded, as
-- half a surrogate pair, stays as it is written.
local function decoded(text)
  local is_text, value = pcall(cjson.decode, '["' .. text .. '"]')
  return (string.gsub(is_text and value[1] or text, '\n', ' '))
end

-- Class and fingerprint of a failure, its first field and its last: the rest is not for us to understand.
local function kinds_of(failure)
  local class = string.match(failure, '^%s*{%s*"type"%s*:%s*"(.*)$') or ''
  local at = 1
  while true do
    local found, _, letter = string.find(class, '([\\"])', at)
    if not found then break end
    if letter == '"' then
      class = string.sub(class, 1, found - 1)
      break
    end
    at = found + 2
  end
  local print = string.match(failure, '^.*"fingerprint"%s*:%s*"(.-)"%s*}%s*$')
  return decoded(class), print and decoded(print)
end

-- Under what an ended task is found; `v` are the fields b, o, fl, tg of its record.
local function found_under(v)
  local under = {'n:' .. string.match(v[1], '^[^\n]*')}
  local tenant = v[2] and string.match(v[2], '^%S+ %S+ %S+ %S+ (.+)$')
  if tenant then under[#under + 1] = 't:' .. tenant end
  if v[3] then
    local class, print = kinds_of(v[3])
    under[#under + 1] = 'e:' .. class
    if print then under[#under + 1] = 'f:' .. print end
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
