-- final: finished jobs that are kept, and the retention policy. RETENTION has
-- count, age and bytes of completed, cancelled and dead jobs, in this order; a
-- bound of -1 is none.
local FINAL = { completed = COMPLETED, cancelled = CANCELLED, dead = DEAD }
local policies

local function policy(state)
  if not policies then
    local n = {}
    for number in string.gmatch(RETENTION, '%-?%d+') do n[#n + 1] = tonumber(number) end
    policies = {
      completed = { count = n[1], age = n[2], bytes = n[3] },
      cancelled = { count = n[4], age = n[5], bytes = n[6] },
      dead = { count = n[7], age = n[8], bytes = n[9] },
    }
  end
  return policies[state]
end

local function sizeof(id)
  return call('HSTRLEN', JOBS, id) + call('HSTRLEN', HISTORY, id)
end

-- retire keeps jobs as finished until the instants given. Their histories must
-- be written before, as they count.
local function retire(state, ids, untils)
  local scored, bytes = {}, 0
  for i = 1, #ids do
    scored[2 * i - 1], scored[2 * i] = untils[i], ids[i]
    bytes = bytes + sizeof(ids[i])
  end
  each('ZADD', FINAL[state], scored)
  call('HINCRBY', META, 'bytes:' .. state, bytes)
end

-- unretire takes jobs out of the finished ones; their bodies stay.
local function unretire(state, ids)
  local bytes = 0
  for i = 1, #ids do bytes = bytes + sizeof(ids[i]) end
  each('ZREM', FINAL[state], ids)
  call('HINCRBY', META, 'bytes:' .. state, -bytes)
  return bytes
end

local function forget(state, ids)
  local bytes = unretire(state, ids)
  each('HDEL', JOBS, ids)
  each('HDEL', HISTORY, ids)
  return bytes
end

-- trim removes at most limit finished jobs of a state: those whose time is up,
-- then, counted as trimmed, the ones that would go next, until the bounds hold.
-- It answers how many went, and whether the limit was reached.
local function trim(state, limit)
  local key, bounds = FINAL[state], policy(state)
  local count = call('ZCARD', key)
  if count == 0 then return 0, false end
  local old = call('ZRANGEBYSCORE', key, '-inf', now, 'LIMIT', 0, limit)
  if #old > 0 then
    forget(state, old)
    count, limit = count - #old, limit - #old
  end
  local trimmed = 0
  if bounds.count >= 0 and count > bounds.count and limit > 0 then
    local n = math.min(count - bounds.count, limit)
    forget(state, call('ZRANGE', key, 0, n - 1))
    count, limit, trimmed = count - n, limit - n, n
  end
  if bounds.bytes >= 0 then
    local bytes = tonumber(call('HGET', META, 'bytes:' .. state) or 0)
    while bytes > bounds.bytes and count > 0 and limit > 0 do
      local next, ids, freed = call('ZRANGE', key, 0, math.min(100, limit) - 1), {}, 0
      for i = 1, #next do
        if bytes - freed <= bounds.bytes then break end
        ids[i], freed = next[i], freed + sizeof(next[i])
      end
      forget(state, ids)
      bytes, count, limit, trimmed = bytes - freed, count - #ids, limit - #ids, trimmed + #ids
    end
  end
  if trimmed > 0 then call('HINCRBY', META, 'trimmed', trimmed) end
  return #old + trimmed, limit <= 0
end

-- finish retires jobs by the policy's age and keeps its bounds.
local function finish(state, ids)
  local untils, stop = {}, now + policy(state).age
  for i = 1, #ids do untils[i] = stop end
  retire(state, ids, untils)
  trim(state, 1000 + #ids)
end
