-- The number of the entry that was added last to a journal.
-- KEYS  meta, nothing
-- ARGV  its name
-- Returns it, 0 where there never was one.
return newest_of(key('journal', ARGV[1]))
