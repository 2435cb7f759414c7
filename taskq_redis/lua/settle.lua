-- Apply settlements: RUNNING (or PENDING after a lost lease) → what taskq.domain.outcome.state_after says.
-- KEYS  meta, nothing
-- ARGV  runs of settlements that are alike: worker, kind, delay ms, reason, count, count × (id, fence, data);
--       data is the result of 'complete', the limits of 'release' that came late, and else the failure as JSON or ''
-- Returns for each settlement 1 applied, 2 repeated, 0 stale, -1 gone; then one more where something is left for relay.lua.
local APPLIED, REPEATED, STALE, GONE = 1, 2, 0, -1
local OUTCOMES = {
  retry = 'failed', bury = 'failed', fail = 'failed', snooze = 'snoozed', throttle = 'snoozed', release = 'released',
  cancel = 'cancelled', crash = 'crashed', complete = 'succeeded',
}
local ENDS = {bury = 'd', fail = 'x', cancel = 'k', complete = 'c'}
local AGAIN = {retry = 't', snooze = 's', throttle = 's', release = 'f'}
local GIVES_BACK = {snooze = true, throttle = true, release = true, crash = true}
local IS_FAILURE = {complete = false, retry = true, bury = true, fail = true, crash = true} -- nil: it says nothing

local answers = {}

-- The usual end of a run: as few writes as there can be. The attempt is read off the record (record.py).
local function complete(queue, task, id, v, result)
  local fields = {}
  if result ~= 'null' then fields = {'r', result} end
  local _, retention, _, _, flags = options_of(v[6])
  finish(queue, task, id, 'c', retention, v[7], flags, fields)
end

-- Limits that whoever enqueued the task did not know of.
local function restrict(task, options, limits)
  local head, tail = string.match(options or '- - - - ', '^(%S+ %S+ %S+ [-0]%a*)( .*)$')
  call('HSET', task, 'g', limits, 'o', head .. (string.find(head, 'x', 1, true) and '' or 'x') .. tail)
end

-- Any other settlement. `v` are the fields of the record that settle() read.
local function apply(queue, task, id, v, kind, delay, reason, data)
  local more = call('HMGET', task, 'a', 'u', 'll', 'h', 'l', 'e')
  local expires, retention, max_lost, letter, flags = options_of(v[6])
  local is_late = v[1] ~= 'r'
  -- A lost lease has given the attempt back already.
  local attempt = more[1] + (is_late and 1 or 0)
  local fields = {'sf', v[2], 'a', attempt - (GIVES_BACK[kind] and 1 or 0)}
  if kind == 'release' and data ~= '' then
    restrict(task, v[6], data)
    data = ''
  end
  if kind ~= 'complete' then
    local history = remember(more[4], v[2], attempt, v[3], more[2], OUTCOMES[kind], data)
    fields[#fields + 1], fields[#fields + 2] = 'h', history
    if data ~= '' then fields[#fields + 1], fields[#fields + 2] = 'fl', data end
  elseif data ~= 'null' then
    fields[#fields + 1], fields[#fields + 2] = 'r', data
  end
  local state = ENDS[kind] or (v[8] and kind ~= 'crash' and 'k') or AGAIN[kind]
  if kind == 'crash' then
    local lost = (more[3] or 0) + 1
    fields[#fields + 1], fields[#fields + 2] = 'll', lost
    state = after_lost_lease(v[8], letter, lost, max_lost)
    if state == 'd' or state == 'x' then reason = POISON end
  end
  if state == 'k' and (kind ~= 'cancel' or reason == '') then reason = v[8] or '' end
  if is_late and state ~= 'f' then
    leave_waiting(queue.name, id, v[1], more[5], more[6])
    if expires then gone_expiring[#gone_expiring + 1] = id end
  end
  if state == 'f' then
    call('HSET', task, 's', is_late and v[1] or 'f', unpack(fields))
    if not is_late then to_front(queue, more[5], more[6], id) end
  elseif state == 't' or state == 's' then
    call('HSET', task, 's', state, 'd', now + delay, unpack(fields))
    to_delayed(queue, state == 't' and 'retry' or 'due', id, now + delay)
  else
    if reason ~= '' then fields[#fields + 1], fields[#fields + 2] = 'rs', reason end
    finish(queue, task, id, state, retention, v[7], flags, fields)
    return
  end
  if expires then expire_at(id, expires) end
end

local function settle(id, fence, worker, kind, delay, reason, data)
  local task = key('task', id)
  local v = call('HMGET', task, 's', 'f', 'w', 'sf', 'q', 'o', 'aw', 'cr')
  if not v[1] then return GONE end
  if v[3] ~= worker then return STALE end
  if v[4] == fence or (v[1] == 'c' and v[2] == fence) then return REPEATED end
  if v[2] ~= fence or (v[1] ~= 'r' and not may_be_late(v[1])) then return STALE end
  if v[1] ~= 'r' and kind == 'crash' then return STALE end -- the reaper has counted this loss
  local queue = queue_of(v[5])
  if v[1] == 'r' then
    gone_leases[#gone_leases + 1] = id .. ':' .. fence .. ':' .. worker
    count(queue, 'r', -1)
    if v[8] then gone_cancels[#gone_cancels + 1] = id end
    local flags = select(5, options_of(v[6]))
    local has_tenant = string.find(flags, 'h', 1, true)
    if has_tenant then share(queue, call('HGET', task, 'l'), -1) end
    if has_tenant or string.find(flags, 'x', 1, true) then
      if kind == 'throttle' then throttle(task) end
      leave_gates(task, id, IS_FAILURE[kind])
    end
  end
  if kind == 'complete' and v[1] == 'r' then
    complete(queue, task, id, v, data)
  else
    apply(queue, task, id, v, kind, delay, reason, data)
  end
  return APPLIED
end

local at = 1
while at <= #ARGV do
  local worker, kind, delay, reason = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  local last = at + 4 + 3 * ARGV[at + 4]
  for i = at + 5, last, 3 do
    answers[#answers + 1] = settle(ARGV[i], ARGV[i + 1], worker, kind, delay, reason, ARGV[i + 2])
  end
  at = last + 1
end
flush_joins()
flush_gates()
flush()
if is_more then answers[#answers + 1] = 1 end
return answers
