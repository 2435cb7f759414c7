-- What the end of tasks means for those that wait for them, and for the flows of which they are members: the rules of
-- taskq.domain.workflow.after_parent and taskq.domain.flow.

local NAMES = {c = 'completed', x = 'failed', d = 'dead', k = 'cancelled', e = 'expired'}
local is_more = false -- left for relay.lua
local told = 0

-- → PENDING or SCHEDULED.
local function unblock(child)
  local task = key('task', child)
  local v = call('HMGET', task, 's', 'q', 'l', 'd', 'dl')
  if v[1] ~= 'b' then return end
  local queue = queue_of(v[2])
  leave_waiting(v[2], child, 'b')
  local due = v[4] and tonumber(v[4]) or v[5] and now + v[5] or now
  if due > now then
    call('HSET', task, 's', 's', 'd', due)
    to_delayed(queue, 'due', child, due)
  else
    call('HSET', task, 's', 'p', 'e', to_lane(queue, v[3], child))
  end
end

-- A parent has ended otherwise than COMPLETED, and the edge does not say that the child shall run all the same.
local function fail(child, parent, state, policy)
  if call('SREM', key('waits', child), parent) == 0 then return end
  local task = key('task', child)
  local v = call('HMGET', task, 's', 'q', 'o', 'aw')
  if v[1] ~= 'b' then return end
  local expires, retention, _, _, flags = options_of(v[3])
  leave_waiting(v[2], child, 'b')
  if expires then gone_expiring[#gone_expiring + 1] = child end
  local why = 'task ' .. parent .. ', for which it waited, '
    .. (NAMES[state] and 'ended as ' .. NAMES[state] or 'is no longer known')
  if policy == 'c' then
    finish(queue_of(v[2]), task, child, 'k', retention, v[4], flags, {'rs', why})
  else
    local failure = cjson.encode({type = 'ParentFailed', message = why})
    finish(queue_of(v[2]), task, child, 'x', retention, v[4], flags, {'rs', 'parent failed', 'fl', failure})
  end
end

-- Tell children of this shard that their parents have ended: rows of child, parent, state, policy, one after the other.
local function tell(rows)
  local met, children = {}, {}
  told = told + #rows / 4
  for i = 1, #rows, 4 do
    local child, parent, state, policy = rows[i], rows[i + 1], rows[i + 2], rows[i + 3]
    if state == 'c' or policy == 'r' then
      if not met[child] then
        met[child] = {}
        children[#children + 1] = child
      end
      table.insert(met[child], parent)
    else
      fail(child, parent, state, policy)
    end
  end
  for _, child in ipairs(children) do
    local removed = 0
    for first = 1, #met[child], CHUNK do
      removed = removed + call('SREM', key('waits', child),
        unpack(met[child], first, math.min(first + CHUNK - 1, #met[child])))
    end
    if removed > 0 and call('EXISTS', key('waits', child)) == 0 then unblock(child) end
  end
end

local function add_row(rows, child, parent, state, policy)
  local n = #rows
  rows[n + 1], rows[n + 2], rows[n + 3], rows[n + 4] = child, parent, state, policy
end

-- Take up to `most` of a parent's children: adds the rows of those in this shard to `here`, of those in others, which
-- stay, to `far`. Returns whether any is left.
local function take_children(ended, most, here, far)
  local state, parent = string.sub(ended, 1, 1), string.sub(ended, 2)
  local name, stay = key('children', parent), {}
  local found = call('SPOP', name, most)
  for _, member in ipairs(found) do
    local child, policy = string.sub(member, 2), string.sub(member, 1, 1)
    if is_here(child) then
      add_row(here, child, parent, state, policy)
    else
      add_row(far, child, parent, state, policy)
      stay[#stay + 1] = member
    end
  end
  if #stay > 0 then in_slices('SADD', name, stay) end
  return #stay > 0 or (#found == most and call('EXISTS', name) == 1)
end

-- Members of flows that have ended are counted; who looks after the flow is told where that may matter.
local function count_members()
  local changes = {}
  for _, ended in ipairs(ended_members) do
    local state, id = string.sub(ended, 1, 1), string.sub(ended, 2)
    local flow = call('HGET', key('task', id), 'fw')
    local change = changes[flow]
    if not change then
      change = {c = 0, x = 0, k = 0, failed = {}}
      changes[flow] = change
    end
    local counter = (state == 'c' or state == 'k') and state or 'x'
    change[counter] = change[counter] + 1
    if state ~= 'c' then change.failed[#change.failed + 1], change.failed[#change.failed + 2] = now, id end
  end
  ended_members = {}
  for flow, change in pairs(changes) do
    local name = key('flow', flow)
    if call('EXISTS', name) == 1 then
      for _, counter in ipairs({'c', 'x', 'k'}) do
        if change[counter] > 0 then call('HINCRBY', name, counter, change[counter]) end
      end
      local is_first = false
      if #change.failed > 0 then
        in_slices('ZADD', key('failed', flow), change.failed)
        is_first = call('HSETNX', name, 'ff', 1) == 1
      end
      local v = call('HMGET', name, 'n', 'c', 'x', 'k')
      if is_first or (v[1] or 0) - (v[2] or 0) - (v[3] or 0) - (v[4] or 0) <= 0 then
        call('ZADD', P .. 'looks', now, flow)
        is_more = true
      end
    end
  end
end

-- Before flush(): what this call has ended is told, as much as one script may; relay.lua goes on.
local function flush_joins()
  while #ended_parents > 0 do
    local ended, rows = ended_parents, {}
    ended_parents = {}
    for _, parent in ipairs(ended) do
      local may_tell = JOINS_PER_CALL - told - #rows / 4
      if may_tell <= 0 or take_children(parent, may_tell, rows, {}) then
        call('ZADD', P .. 'out', now, parent)
        is_more = true
      end
    end
    tell(rows)
  end
  if #ended_members > 0 then count_members() end
end
