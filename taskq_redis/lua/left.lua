-- What is left to be rolled up, the oldest first.
-- KEYS  meta, nothing
-- ARGV  how many
-- Returns id, ms and data each.
local rows, found = {}, call('ZRANGE', P .. 'lefts', 0, ARGV[1] - 1, 'WITHSCORES')
for i = 1, #found, 2 do rows[#rows + 1] = {found[i], found[i + 1], call('HGET', P .. 'left', found[i])} end
return rows
