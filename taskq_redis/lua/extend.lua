-- Extend leases: only one that exists is moved, so a fence that is no longer the newest, or that was reaped, is lost.
-- KEYS  meta, nothing
-- ARGV  lease ms, then for each delivery: id, "<id>:<fence>:<worker>"
-- Returns {indexes that are lost, indexes whose cancel is wanted}, from 0.
local until_ms = now + ARGV[1]
local ids, members, scored = {}, {}, {}
for i = 2, #ARGV, 2 do
  ids[#ids + 1] = ARGV[i]
  members[#members + 1] = ARGV[i + 1]
  scored[#scored + 1] = until_ms
  scored[#scored + 1] = ARGV[i + 1]
end
call('ZADD', P .. 'leases', 'XX', unpack(scored))
local scores = call('ZMSCORE', P .. 'leases', unpack(members))
local wanted = call('EXISTS', P .. 'cancels') == 1 and call('SMISMEMBER', P .. 'cancels', unpack(ids))
local lost, cancel = {}, {}
for i = 1, #members do
  if not scores[i] then
    lost[#lost + 1] = i - 1
  elseif wanted and wanted[i] == 1 then
    cancel[#cancel + 1] = i - 1
  end
end
return {lost, cancel}
