-- How many tasks of some states ended in a time, of one value of one key, or all: each is found under one name.
-- KEYS  meta, nothing
-- ARGV  the most that is asked for, "<kind>:<value>" or '', the first and the last score as ZCOUNT takes them, letters of
--       states …
-- Returns how many, or a little more than the most, and 1 where there may be more that are not in the index any more.
local total, is_cut, first = 0, 0, ARGV[3]
local since = tonumber(call('HGET', KEYS[1], 'found since') or 0)

local function add(under)
  for i = 5, #ARGV do
    local name = found_key(ARGV[i], under)
    total = total + call('ZCOUNT', name, first, ARGV[4])
    if PASSES[ARGV[i]] and is_cut == 0 then
      local kept = since
      if call('ZCARD', name) >= FOUND_MOST then kept = math.max(kept, tonumber(call('ZRANGE', name, 0, 0, 'WITHSCORES')[2])) end
      if kept > 0 and (first == '-inf' or tonumber(first) < kept) then is_cut = 1 end
    end
  end
end

if ARGV[2] ~= '' then
  add(ARGV[2])
else
  for _, name in ipairs(call('ZRANGE', P .. 'values:n', 0, -1)) do
    add('n:' .. name)
    if total >= tonumber(ARGV[1]) then break end
  end
end
return {total, is_cut}
