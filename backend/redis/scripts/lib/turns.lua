-- turns: how a lease decides between lanes. It goes by what lease.lua knows of the lease.
local offered = 0 -- jobs of lanes

-- offer hands out the first job of a lane, or parks it, and reports whether the lease goes on.
local function offer(level, lane)
  local name, standing = lane.name, lane.standing
  local jobs = waitersof(name, 2)
  if not jobs[1] then
    stand(name, nil, nil, nil, standing)
    return true
  end
  local id = string.sub(jobs[1], #name + 18)
  local record = limited and call('HGET', LIMITED, id)
  if not fits(id) then
    more = true
    return false
  end
  if record and stops() then return false end
  local l = laneof(id) or { level = level, cost = UNIT, lane = string.sub(name, 2) }
  local at, pair, ready, number, list = lane.at, nil, nil, nil, nil
  if record then pair, ready, number, list = try(id, level, record) end
  call('ZREM', LANES, jobs[1])
  l.number = '-'
  writelane(id, l)
  if pair then
    parked(id, level, number, list, pair, ready)
  else
    ids[#ids + 1] = id
    levels[#ids] = level
    clockof(level).now = lane.at
    at = lane.at + l.cost
  end
  if not jobs[2] then
    rest(name, at, standing)
  elseif at > lane.at then
    stand(name, 'w', at, string.sub(jobs[2], #name + 3, #name + 17), standing)
  end
  return true
end

-- fair hands out jobs of the lanes of a level that come before the next one of its list, and answers how many of the list
-- come then; nil if the lease ends here.
fair = function(level, offset)
  local c, waits = clockof(level), call('LLEN', W[level]) - offset
  while true do
    local room = asked - (#ids - before)
    local lane = nextlane(level)
    local list = math.max(c.list, c.now)
    if room == 0 then
      if waits <= 0 and not lane then return 0 end
      more = true
      return nil
    end
    if waits > 0 and c.front > 0 then return math.min(room, c.front) end
    if not lane then return room end
    if waits > 0 and list <= lane.at then return math.min(room, math.floor((lane.at - list) / UNIT) + 1) end
    offered = offered + 1
    if offered > 500 then
      more = true
      return nil
    end
    if not offer(level, lane) then return nil end
  end
end

-- hadturn is for the list of a level, of which so many entries were looked at and jobs handed out.
hadturn = function(level, entries, jobs)
  local c = clockof(level)
  if c.front > 0 then
    c.front = c.front - entries
  elseif jobs > 0 then
    local list = math.max(c.list, c.now)
    c.now, c.list = list + (jobs - 1) * UNIT, list + jobs * UNIT
  end
  return nextlane(level)
end

-- endturns keeps what has become of the lanes. All is set if nothing is left that waits.
endturns = function(all)
  local limit = 1000
  for level = 0, 4 do
    if all then over(level) end
    limit = limit - forgetpassed(level, limit)
  end
  keepclock()
end
