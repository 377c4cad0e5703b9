-- lanes: the jobs of lanes, and their turns. LANEOF has, of each job with a lane that has not finished, under "j" and
-- its id: its level, what it costs its lane, its number among those that wait in lanes (- if it does not wait there), and
-- the lane; and under a level and a lane how it stands with that: "w" and when it starts if it has work, else "i" and when it
-- may start, in virtual time, and the number of its first job, which decides between lanes that start at one time. LANES has "j", level, lane, NUL, number and id of each job that waits in a lane, and what
-- LANEOF says of each lane, with the level after the letter and the lane behind. META has in 'virtual', for each level, the
-- virtual time, when those without a lane start, and how many at the head of their list have come back to the front:
-- these come before all others, and cost nothing.
local UNIT = 1000000

local function stamp(time) return string.format('%018.0f', time) end

local virtual
local function clockof(level)
  if not virtual then
    virtual = {}
    local n = 0
    for time, list, front in string.gmatch(call('HGET', META, 'virtual') or '', '(%d+) (%d+) (%d+)') do
      virtual[n], n = { now = tonumber(time), list = tonumber(list), front = tonumber(front) }, n + 1
    end
    for other = n, 4 do virtual[other] = { now = 0, list = 0, front = 0 } end
  end
  return virtual[tonumber(level)]
end

local function keepclock()
  local numbers = {}
  for level = 0, 4 do
    local c = clockof(level)
    numbers[level + 1] = string.format('%.0f %.0f %.0f', c.now, c.list, c.front)
  end
  call('HSET', META, 'virtual', table.concat(numbers, ' '))
end

local function readlane(record)
  local level, cost, number, lane = string.match(record, '^(%d) (%d+) (%S+) (.*)$')
  return { level = level, cost = tonumber(cost), number = number, lane = lane }
end

local function laneof(id)
  local record = call('HGET', LANEOF, 'j' .. id)
  return record and readlane(record)
end

local function writelane(id, l)
  call('HSET', LANEOF, 'j' .. id, l.level .. ' ' .. string.format('%.0f', l.cost) .. ' ' .. l.number .. ' ' .. l.lane)
end

-- lanefrom reads how a job that is to be stored names its lane: its weight (0 for 1), a space and its key.
local function lanefrom(level, text)
  local weight, lane = string.match(text, '^(%S+) (.*)$')
  weight = tonumber(weight)
  return { level = tostring(level), cost = weight == 0 and UNIT or math.floor(UNIT / weight + 0.5), number = '-', lane = lane }
end

-- waitersof are the first jobs that wait in a lane, a level and a name.
local function waitersof(lane, limit)
  return call('ZRANGEBYLEX', LANES, '[j' .. lane .. '\0', '(j' .. lane .. '\1', 'LIMIT', 0, limit)
end

-- nextlane is the one of a level that starts first.
local function nextlane(level)
  local member = call('ZRANGEBYLEX', LANES, '[w' .. level, '(w' .. level + 1, 'LIMIT', 0, 1)[1]
  return member and { name = level .. string.sub(member, 36), at = tonumber(string.sub(member, 3, 20)), standing = 'w' .. string.sub(member, 3, 35) }
end

-- startof reads when a lane starts, or may start.
local function startof(standing) return standing and tonumber(string.sub(standing, 2, 19)) or 0 end

-- stand has a lane be where it is said, or if that is nil forgets it; before is what LANEOF says of it.
local function stand(lane, letter, at, number, before)
  local level, name = string.sub(lane, 1, 1), string.sub(lane, 2)
  if before then call('ZREM', LANES, string.sub(before, 1, 1) .. level .. string.sub(before, 2) .. name) end
  if letter then
    call('HSET', LANEOF, lane, letter .. stamp(at) .. number)
    call('ZADD', LANES, 0, letter .. level .. stamp(at) .. number .. name)
  else
    call('HDEL', LANEOF, lane)
  end
end

local NOBODY = string.rep('0', 15) -- the number of the first job where there is none

-- rest is for a lane whose last job has left: it may start when it would have started.
local function rest(lane, at, before)
  stand(lane, at > clockof(string.sub(lane, 1, 1)).now and 'i' or nil, at, NOBODY, before)
end

-- over has the virtual time of a level in which nothing waits pass all of its lanes: nobody has anything coming to him.
local function over(level)
  local c, before = clockof(level), call('ZLEXCOUNT', LANES, '-', '(i' .. level + 1)
  local last = before > 0 and call('ZRANGE', LANES, before - 1, before - 1)[1]
  c.front = 0
  c.now = math.max(c.now, c.list)
  if last and string.sub(last, 1, 2) == 'i' .. level then c.now = math.max(c.now, tonumber(string.sub(last, 3, 20))) end
end

-- forgetpassed forgets up to limit lanes without work that the virtual time has passed.
local function forgetpassed(level, limit)
  local passed = call('ZRANGEBYLEX', LANES, '[i' .. level, '(i' .. level .. stamp(clockof(level).now + 1), 'LIMIT', 0, limit)
  local lanes = {}
  for i, member in ipairs(passed) do lanes[i] = level .. string.sub(member, 36) end
  each('ZREM', LANES, passed)
  each('HDEL', LANEOF, lanes)
  return #passed
end

local busy = {} -- the levels in which something is known to wait

-- enlane puts a job at the end of its lane.
local function enlane(id, l)
  local lane = l.level .. l.lane
  l.number = string.format('%015.0f', call('HINCRBY', META, 'laned', 1))
  writelane(id, l)
  local before = call('HGET', LANEOF, lane)
  if not before or string.sub(before, 1, 1) == 'i' then
    if not busy[l.level] and call('LLEN', W[tonumber(l.level)]) == 0 and not nextlane(l.level) then
      over(l.level)
      keepclock()
    end
    stand(lane, 'w', math.max(clockof(l.level).now, startof(before)), l.number, before)
    forgetpassed(l.level, 2)
  end
  busy[l.level] = true
  call('ZADD', LANES, 0, 'j' .. lane .. '\0' .. l.number .. id)
end

-- leave takes a waiting job out of its lane, and reports whether it was in one.
local function leave(id)
  local l = laneof(id)
  if not l or l.number == '-' then return false end
  local lane = l.level .. l.lane
  call('ZREM', LANES, 'j' .. lane .. '\0' .. l.number .. id)
  l.number = '-'
  writelane(id, l)
  if #waitersof(lane, 1) == 0 then
    local before = call('HGET', LANEOF, lane)
    rest(lane, startof(before), before)
    busy[l.level] = nil
  end
  return true
end

-- forgetlanes is for jobs that are over.
local function forgetlanes(ids)
  local names = {}
  for i, id in ipairs(ids) do names[i] = 'j' .. id end
  each('HDEL', LANEOF, names)
end

-- intolanes puts those jobs into their lanes that have some, and answers the others.
local function intolanes(ids)
  local names, others = {}, {}
  for i, id in ipairs(ids) do names[i] = 'j' .. id end
  for i, record in ipairs(fields(LANEOF, names)) do
    if record then
      enlane(ids[i], readlane(record))
    else
      others[#others + 1] = ids[i]
    end
  end
  return others
end
