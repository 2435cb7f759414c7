-- How many tasks of some states ended in a time: each is found under one name.
-- KEYS  meta, nothing
-- ARGV  the most that is asked for, the first and the last score as ZCOUNT takes them, letters of states …
-- Returns how many, or a little more than the most.
local total = 0
for _, name in ipairs(call('ZRANGE', P .. 'values:n', 0, -1)) do
  for i = 4, #ARGV do total = total + call('ZCOUNT', found_key(ARGV[i], 'n:' .. name), ARGV[2], ARGV[3]) end
  if total >= tonumber(ARGV[1]) then break end
end
return total
