-- enroll: how a new job comes to its limits.

-- changed has all that is parked in a class be looked at.
local function changed(class)
  rules[class] = nil
  if #call('ZRANGEBYLEX', BLOCKED, '[limit:' .. class .. '/', '(limit:' .. class .. '0', 'LIMIT', 0, 1) > 0 then
    call('ZADD', READY, 0, class .. '\n')
    call('HDEL', META, 'common')
    ring()
  end
end

-- declared reads the limits of a job, a line for each: hold, cost, the rule and the pair.
local function declared(text)
  local list = {}
  for hold, cost, rule, pair in string.gmatch(text, '(%l)(%d+) (%d+ %d+ %d+ %d+) ([^\n]*)\n') do
    list[#list + 1] = { hold = hold, cost = math.max(1, tonumber(cost)), spent = '0', pair = pair, rule = rule }
  end
  return list
end

-- declare has the rules of a job that is to be stored count from now on.
local function declare(list)
  for _, l in ipairs(list) do
    local class = string.match(l.pair, '^[^/]*')
    local code, fleet = string.match(call('HGET', CLASSES, class) or '', '^([^\n]*)\n?(.*)$')
    if code ~= l.rule then
      call('HSET', CLASSES, class, l.rule .. '\n' .. fleet)
      changed(class)
    end
  end
end

-- refuses answers the pair because of which a new job is not stored, nil if there is none.
-- The job whose place it would take does not count.
local function refuses(list, instead)
  for _, l in ipairs(list) do
    if l.hold == 'e' then
      local rule = ruleof(l.pair)
      local own = instead and call('ZSCORE', SLOTS, l.pair .. '\0' .. instead) and 1 or 0
      if rule.slots > 0 and slotsof(l.pair) - own >= rule.slots then return l.pair end
      if rule.rate > 0 and spend(rule, l.pair, l.cost) > micro then return l.pair end
    end
  end
end

-- enroll has a stored job count against its limits.
local function enroll(id, list)
  if #list == 0 then return end
  writelimits(id, '0', list)
  for _, l in ipairs(list) do
    if l.hold == 'e' then
      call('ZADD', SLOTS, 0, l.pair .. '\0' .. id)
      local rule = ruleof(l.pair)
      if rule.rate > 0 then
        local _, after = spend(rule, l.pair, l.cost)
        fill(l.pair, after)
      end
    end
  end
  call('HSET', META, 'mixed', 1)
  rare()
end
