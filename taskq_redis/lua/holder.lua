-- The task that holds a unique key.
-- KEYS  meta, nothing
-- ARGV  the key
-- Returns its id, '' where the key is free.
return owner_of(ARGV[1]) or ''
