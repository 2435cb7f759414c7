-- Write rows of figures and forget what they were made of.
-- KEYS  meta, nothing
-- ARGV  how many are taken, their ids, then for each row its step, its instant, the version on which it is based, data
-- Returns 1, or 0 where another version of a row is there, or one of those taken is gone.
local taken, first = {}, ARGV[1] + 2
for i = 2, first - 1 do taken[#taken + 1] = ARGV[i] end
for _, id in ipairs(taken) do
  if call('HEXISTS', P .. 'left', id) == 0 then return 0 end
end
for i = first, #ARGV, 4 do
  local known = call('HGET', key('figures', ARGV[i]), ARGV[i + 1])
  if (known and string.match(known, '^%d+') or '0') ~= ARGV[i + 2] then return 0 end
end
in_slices('HDEL', P .. 'left', taken)
in_slices('ZREM', P .. 'lefts', taken)
for i = first, #ARGV, 4 do
  call('HSET', key('figures', ARGV[i]), ARGV[i + 1], ARGV[i + 2] + 1 .. ' ' .. ARGV[i + 3])
end
return 1
