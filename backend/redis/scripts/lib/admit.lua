-- admit: whether a job has room in its limits, and where it is parked if it has not.

-- admit counts a job that is to be leased against its limits, if there is room in all of them.
-- Else it answers the pair where there is none, and when there will be if that is known. One
-- that is unblocked does not wait for those that are parked.
local function admit(id, level, number, list, unblocked)
  local rank = number ~= '0' and tonumber(4 - level .. number)
  local after = {}
  for i, l in ipairs(list) do
    if l.hold ~= 'e' then
      local rule = ruleof(l.pair)
      if l.hold ~= 'f' or not call('ZSCORE', SLOTS, l.pair .. '\0' .. id) then
        local first = not unblocked and firstof(l.pair)
        if first and first.id ~= id and (rank and first.rank < rank or not rank and first.level >= level) then return l.pair end
        if rule.slots > 0 and slotsof(l.pair) >= rule.slots then return l.pair end
      end
      if rule.rate > 0 then
        local allowed
        allowed, after[i] = spend(rule, l.pair, l.cost)
        if allowed > micro then return l.pair, math.ceil(allowed / 1000) end
      end
      if l.hold == 'f' then call('ZADD', SLOTS, 0, l.pair .. '\0' .. id) end -- also while it is parked at another one
    end
  end
  for i, l in ipairs(list) do
    if l.hold ~= 'e' then
      call('ZADD', SLOTS, 0, l.pair .. '\0' .. id)
      l.spent = after[i] and fill(l.pair, after[i]) or '0'
    end
  end
  writelimits(id, '0', list)
end

-- park sets a job aside that is in no list.
local function park(id, level, number, list, pair, at)
  if number == '0' then
    number = string.format('%015.0f', call('HINCRBY', META, 'parks', 1))
    writelimits(id, number, list)
  end
  local key = 'limit:' .. pair
  call('ZADD', BLOCKED, 0, key .. '\0' .. 4 - level .. number .. id)
  call('HSET', BLOCKEDON, id, level .. key .. '\0' .. number)
  if at then call('ZADD', READY, 'LT', string.format('%.0f', at), pair) end
end

-- tokensof is what the job of an entry of BLOCKED costs there.
local function tokensof(member, pair)
  local record = call('HGET', LIMITED, string.sub(member, #pair + 24))
  local _, list = limitsof(record or '')
  for _, l in ipairs(list) do
    if l.pair == pair then return l.cost end
  end
  return 1
end

-- lookagain makes the pairs of classes whose rules have changed ready, a part of them at a
-- time.
local function lookagain()
  for _, marker in ipairs(call('ZRANGEBYSCORE', READY, '-inf', 0, 'LIMIT', 0, 10)) do
    local class, last = string.match(marker, '^([^\n]*)\n(.*)$')
    call('ZREM', READY, marker)
    for n = 1, 101 do
      local from = last == '' and '[limit:' .. class .. '/' or '(limit:' .. last .. '\1'
      local found = call('ZRANGEBYLEX', BLOCKED, from, '(limit:' .. class .. '0', 'LIMIT', 0, 1)[1]
      if not found then break end
      if n > 100 then
        call('ZADD', READY, 0, class .. '\n' .. last)
        break
      end
      last = string.match(found, '^limit:([^%z]*)')
      owe(last, tokensof(found, last))
      call('ZADD', READY, 'LT', now, last)
    end
  end
end
