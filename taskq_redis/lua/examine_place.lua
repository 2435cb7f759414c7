-- Look whether what lies in a place belongs there, a page of it, and take out what does not.
-- KEYS  meta, nothing
-- ARGV  1 to mend or '', kind of place, its queue or gate or '<s>:<i>' or '', its lane or gate or '', where the page
--       begins, how many to look at
-- Returns where the next page begins or '', {kind of damage, id, …}, how many were looked at.
local kind, name, part, cursor, most = ARGV[2], ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6])
local STATES_OF = {
  lane = 'p', front = 'f', cleared = 'a', room = 'g', due = 's', retry = 't', blocked = 'b', unsure = 'b',
}

local function id_of(member)
  if kind == 'front' or kind == 'cleared' or kind == 'room' then return string.sub(member, 7) end
  return kind == 'leases' and string.match(member, '^[^:]*') or member
end

-- `entry`: of a lane, where the member lies in it.
local function belongs(member, entry)
  local id = id_of(member)
  local v = call('HMGET', key('task', id), 's', 'q', 'e', 'rm', 'f', 'w', 'cr', 'g', 'l', 'tl')
  if kind == 'leases' then return v[1] == 'r' and member == id .. ':' .. (v[5] or '') .. ':' .. (v[6] or '') end
  if kind == 'cancels' then return v[1] == 'r' and v[7] end
  if kind == 'holders' then return v[1] == 'r' and holds_slot(v[10], v[8], name) end
  if kind == 'found' then return v[1] == string.sub(name, 1, 1) end
  if kind == 'expiring' then return v[1] and WAITS[v[1]] end
  if v[1] ~= STATES_OF[kind] or (kind ~= 'unsure' and v[2] ~= name) then return false end
  if kind == 'lane' then return v[3] == entry and v[9] == part end
  if kind == 'front' or kind == 'cleared' or kind == 'room' then
    return is_entry(v[3]) and front_member(v[3], id) == member and (kind ~= 'room' or v[4] == part)
  end
  return true
end

local DAMAGE = {leases = 'leases.left', cancels = 'leases.left', holders = 'limits.left', found = 'search.left'}

local function take_out(member, entry)
  if kind == 'lane' then
    call('XDEL', lane_key(name, part), entry)
    if call('XLEN', lane_key(name, part)) == 0 then close_lane(name, part) end
  elseif kind == 'room' then
    leave_room(name, part, member)
  elseif kind == 'holders' then
    call('SREM', key('holders', name), member)
    open_gate(name)
  elseif kind == 'found' then
    call('ZREM', key('found', name), member)
    if call('EXISTS', key('found', name)) == 0 then forget_value(string.sub(name, 3)) end
  elseif kind == 'cancels' then
    call('SREM', P .. 'cancels', member)
  elseif kind == 'leases' or kind == 'expiring' or kind == 'unsure' then
    call('ZREM', P .. kind, member)
  else
    call('ZREM', key(kind, name), member)
  end
end

local function judge(member, entry)
  local is_read, is_right = pcall(belongs, member, entry)
  if not is_read then note('records.unreadable', id_of(member)) end
  if not is_read or is_right then return end
  note(DAMAGE[kind] or 'places.left', id_of(member))
  if mends then take_out(member, entry) end
end

-- A gate at which nobody waits: a claim that comes upon it fails.
local function judge_gate(gate)
  if call('EXISTS', room_key(name, gate)) == 1 then return end
  note('places.left', name .. ' ' .. gate)
  if mends then
    call('ZREM', key('gates', name), gate)
    call('SREM', key('rooms', gate), name)
  end
end

local following, number = '', 0
if kind == 'lane' then
  local entries = call('XRANGE', lane_key(name, part), cursor == '0' and '-' or '(' .. cursor, '+', 'COUNT', most)
  for _, entry in ipairs(entries) do judge(entry[2][2], entry[1]) end
  following, number = #entries == most and entries[most][1] or '', #entries
else
  local place = kind == 'room' and room_key(name, part) or name == '' and P .. kind or key(kind, name)
  local is_set = kind == 'cancels' or kind == 'holders'
  local reply = call(is_set and 'SSCAN' or 'ZSCAN', place, cursor, 'COUNT', most)
  for i = 1, #reply[2], is_set and 1 or 2 do
    if kind == 'gates' then judge_gate(reply[2][i]) else judge(reply[2][i]) end
  end
  following, number = reply[1] == '0' and '' or reply[1], is_set and #reply[2] or #reply[2] / 2
end
flush_gates()
flush()
return {following, found, number}
