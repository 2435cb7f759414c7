-- Look whether unique keys are held by tasks that live, or for a time.
-- KEYS  meta, nothing
-- ARGV  1 to mend or '', unique keys …
-- Returns {kind of damage, key, …}.
for i = 2, #ARGV do
  local held = call('GET', key('unique', ARGV[i]))
  if held and string.sub(held, 1, 1) ~= 't' then
    local state = call('HGET', key('task', string.sub(held, 2)), 's')
    if not (state == 'r' or WAITS[state or '']) then
      note('unique.left', ARGV[i])
      if mends then call('DEL', key('unique', ARGV[i])) end
    end
  end
end
return found
