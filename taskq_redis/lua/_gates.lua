-- The gates that limited tasks must pass: rate, concurrency, breaker, as taskq.domain.limits says it. What a call reads
-- of a gate it keeps, and writes once, by flush_gates(). gate_of puts the figures of an override into the limit that it is
-- given. A limit is one array of the record's field `g`:
--   ["r", key, per second, burst, adaptive]   ["c", key, limit]   ["b", key, failure rate, window, least, cooldown, probes]
-- Instants are in seconds here.
local seconds = now / 1000
local ROUNDING = 1e-3

local gates = {}

-- What holds for a gate instead of what tasks bring along (taskq.domain.overrides), by the names that it heeds.
local has_overrides
local function all_keys_of(name) return (string.match(name, '^(.:.*:)[^:]*$') or name) .. '*' end
local function override_of(name)
  if has_overrides == nil then has_overrides = call('EXISTS', P .. 'overrides') == 1 end
  if not has_overrides or string.sub(name, 1, 8) == 'r:queue:' then return {} end
  local found = call('HMGET', P .. 'overrides', name, all_keys_of(name))
  for _, text in ipairs({found[1] or found[2], found[1] and found[2]}) do
    local override = text and cjson.decode(text) or {}
    if not override['until'] or override['until'] > seconds then return override end
  end
  return {}
end

local function number(text, default) return text and tonumber(text) or default end

local function read_bucket(gate, limit)
  local v = call('HMGET', key('gate', gate.name), 't', 'at', 'sh', 'cu')
  gate.rate, gate.burst, gate.adaptive = limit[3], limit[4], limit[5]
  gate.share, gate.cut = number(v[3], 1), number(v[4], -1e18)
  if not v[1] then
    gate.tokens = gate.burst
    return
  end
  local passed = math.max(0, seconds - v[2])
  gate.tokens = math.min(gate.burst, v[1] + passed * gate.rate * gate.share)
  gate.share = gate.adaptive and math.min(1, gate.share + passed / RECOVERY) or 1
end

local function read_breaker(gate, limit)
  local v = call('HMGET', key('gate', gate.name), 'si', 'ru', 'fa', 'op', 'pr', 'pa', 'ps')
  gate.since, gate.runs, gate.failures = number(v[1], seconds), number(v[2], 0), number(v[3], 0)
  gate.opened, gate.probing, gate.probed, gate.passed = number(v[4]), number(v[5], 0), number(v[6], 0), number(v[7], 0)
end

local function gate_of(limit)
  local name = limit[1] .. ':' .. limit[2]
  local gate = gates[name]
  local override = gate and gate.override or override_of(name)
  if limit[1] == 'r' and override.per_second then limit[3], limit[4] = override.per_second, override.burst end
  if limit[1] == 'c' and override.limit then limit[3] = override.limit end
  if not gate then
    gate = {name = name, kind = limit[1], override = override}
    if gate.kind == 'r' then
      read_bucket(gate, limit)
    elseif gate.kind == 'c' then
      gate.held = call('SCARD', key('holders', name))
    else
      read_breaker(gate, limit)
    end
    gates[name] = gate
  end
  return gate
end

local function seconds_to_probe(gate, limit)
  if not gate.opened then return 0 end
  return math.max(0, (gate.probing < limit[7] and gate.opened or gate.probed) + limit[6] - seconds)
end

-- How many may pass now.
local function room_of(gate, limit)
  if gate.kind == 'r' then return math.max(0, math.floor(gate.tokens + ROUNDING)) end
  if gate.kind == 'c' then return math.max(0, limit[3] - gate.held) end
  if gate.override.is_open ~= nil then return gate.override.is_open and 0 or math.huge end
  if seconds_to_probe(gate, limit) > 0 then return 0 end
  return gate.opened and math.max(1, limit[7] - gate.probing) or math.huge
end

-- In how many ms it opens for one more, after `passing` that may pass already; earlier where a holder leaves.
local function ms_to_open(gate, limit, passing)
  local ends = gate.override['until'] and math.max(0, gate.override['until'] - seconds) * 1000 or math.huge
  if gate.kind == 'c' or gate.override.is_open then return math.ceil(math.min(LOOK_AGAIN, ends)) end
  local wait
  if gate.kind == 'r' then
    local tokens = gate.tokens - passing
    wait = tokens >= 1 - ROUNDING and 0 or (1 - tokens) / (gate.rate * gate.share)
  else
    wait = seconds_to_probe(gate, limit)
    if wait == 0 then wait = limit[6] end
  end
  return math.ceil(math.min(wait * 1000, ends))
end

-- Pass gates that are all open.
local function enter_gates(limits, id)
  for _, limit in ipairs(limits) do
    local gate = gate_of(limit)
    if gate.kind == 'r' then
      gate.tokens, gate.is_changed = gate.tokens - 1, true
    elseif gate.kind == 'c' then
      gate.held = gate.held + call('SADD', key('holders', gate.name), id)
    elseif gate.opened then
      gate.probing = gate.probing < limit[7] and gate.probing + 1 or 1
      gate.probed, gate.is_changed = seconds, true
    end
  end
end

-- It may have opened: whoever claims next from a queue in which somebody waits for it looks.
local function open_gate(name)
  for _, queue in ipairs(call('SMEMBERS', key('rooms', name))) do
    call('ZADD', key('gates', queue), 0, name)
    wake(queue, 1)
  end
end

-- A breaker hears of the end of a run (taskq.domain.limits.ended); failed nil: it says nothing.
local function note_run(gate, limit, failed, started)
  local was_open = gate.opened
  gate.is_changed = true
  if failed == nil then
    if gate.opened then gate.probing = math.max(gate.passed, gate.probing - 1) end
  elseif gate.opened then
    if started < gate.opened or gate.probing == 0 then return end
    if failed then
      gate.opened, gate.probing, gate.passed = seconds, 0, 0
    elseif gate.passed + 1 >= limit[7] then
      gate.since, gate.runs, gate.failures, gate.opened, gate.probing, gate.passed = seconds, 0, 0, nil, 0, 0
    else
      gate.passed = gate.passed + 1
    end
  else
    if seconds - gate.since >= limit[4] then gate.since, gate.runs, gate.failures = seconds, 0, 0 end
    gate.runs, gate.failures = gate.runs + 1, gate.failures + (failed and 1 or 0)
    if gate.runs >= limit[5] and gate.failures >= limit[3] * gate.runs then
      gate.opened, gate.probing, gate.passed = seconds, 0, 0
    end
  end
  if was_open and room_of(gate, limit) > 0 then open_gate(gate.name) end
end

-- A run has ended, or its lease was lost.
local function leave_gates(task, id, failed)
  local v = call('HMGET', task, 'tl', 'g', 'u')
  for _, limit in ipairs(limits_of(v[1], v[2])) do
    local gate = gate_of(limit)
    if gate.kind == 'c' and call('SREM', key('holders', gate.name), id) == 1 then
      gate.held = gate.held - 1
      open_gate(gate.name)
    elseif gate.kind == 'b' then
      note_run(gate, limit, failed, v[3] / 1000)
    end
  end
end

-- The far side said "too many requests".
local function throttle(task)
  for _, limit in ipairs(limits_of(nil, call('HGET', task, 'g'))) do
    local gate = gate_of(limit)
    if gate.kind == 'r' and gate.adaptive and seconds - gate.cut >= CUT_EVERY then
      gate.tokens, gate.share, gate.cut = 0, math.max(LEAST_SHARE, gate.share / 2), seconds
      gate.is_changed = true
    end
  end
end

local function real(value) return string.format('%.6f', value) end

local function flush_gates()
  for name, gate in pairs(gates) do
    local row = key('gate', name)
    if gate.is_changed and gate.kind == 'r' then
      call('HSET', row, 't', real(gate.tokens), 'at', real(seconds), 'sh', real(gate.share), 'cu', real(gate.cut))
      -- A bucket that is full, and at its whole rate, says no more than none would.
      local left = (gate.burst - gate.tokens) / (gate.rate * gate.share) + RECOVERY
      call('PEXPIRE', row, string.format('%.0f', math.min(math.ceil(left * 1000), 1e12)))
    elseif gate.is_changed and gate.kind == 'b' then
      call('HSET', row, 'si', real(gate.since), 'ru', gate.runs, 'fa', gate.failures, 'pr', gate.probing,
        'pa', real(gate.probed), 'ps', gate.passed)
      if gate.opened then call('HSET', row, 'op', real(gate.opened)) else call('HDEL', row, 'op') end
      call('PEXPIRE', row, BREAKER_RETENTION)
    end
  end
  gates = {}
end
