local TOKENS_KNOWN = 8

-- Whether a call that appends something was heard before: a hash keeps the tokens of the newest few, because calls of
-- several callers may come between one whose reply was lost and its repetition.
local function is_repeat(name, token)
  local known = call('HGET', name, 'ts') or ''
  if string.find(known, token, 1, true) then return true end
  call('HSET', name, 'ts', string.sub(known .. token, -TOKENS_KNOWN * #token))
  return false
end
