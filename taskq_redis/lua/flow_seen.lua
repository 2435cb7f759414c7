-- A flow was looked at: it is to be looked at again only if it was noted anew since. Where nothing is pending, it is kept
-- for some time.
-- KEYS  meta, nothing
-- ARGV  id, the score with which it was noted or '', the time for which it is kept (ms) or ''
local id = ARGV[1]
if ARGV[2] ~= '' and tonumber(call('ZSCORE', P .. 'looks', id) or -1) == tonumber(ARGV[2]) then
  call('ZREM', P .. 'looks', id)
end
local v = call('HMGET', key('flow', id), 'n', 'c', 'x', 'k')
local pending = (v[1] or 0) - (v[2] or 0) - (v[3] or 0) - (v[4] or 0)
if ARGV[3] ~= '' and pending == 0 then
  for _, kind in ipairs({'flow', 'members', 'failed'}) do
    call('PEXPIRE', key(kind, id), math.max(1, tonumber(ARGV[3])))
  end
end
return 1
