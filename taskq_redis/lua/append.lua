-- Add an entry at the end of a journal.
-- KEYS  meta, nothing
-- ARGV  name, its number, data
-- Returns 1, or 0 where it is not the next and not there already.
local stream = key('journal', ARGV[1])
if newest_of(stream) == ARGV[2] - 1 then
  call('XADD', stream, ARGV[2] .. '-0', 'd', ARGV[3])
  return 1
end
local known = call('XRANGE', stream, ARGV[2], ARGV[2])
return known[1] and known[1][2][2] == ARGV[3] and 1 or 0
