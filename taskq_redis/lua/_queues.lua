-- The queues that a script is about: those that are named from an argument on, else all of the shard; nil where these
-- are too many for one call.
local function queues_from(first)
  local names = {}
  for i = first, #ARGV do names[#names + 1] = ARGV[i] end
  if #names > 0 then return names end
  if call('SCARD', P .. 'queues') > QUEUES_PER_CALL then return nil end
  names = call('SMEMBERS', P .. 'queues')
  table.sort(names)
  return names
end
