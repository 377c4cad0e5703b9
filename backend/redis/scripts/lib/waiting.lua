-- waiting: the lists of waiting ids, by level: 0 for the lowest priority to 4
-- for the highest. Those that wait in lanes are not there. lines gathers ids per level until they are pushed.
local function lines()
  return { [0] = {}, {}, {}, {}, {} }
end

-- checklists ends the script if a list is of a wrong type.
local function checklists()
  for level = 0, 4 do call('LLEN', W[level]) end
  call('HEXISTS', LANEOF, '')
  call('ZCARD', LANES)
end

-- rare closes the common path of lease until a whole lease opens it again.
local function rare() call('HDEL', META, 'common') end

local function rarely(line)
  if #line[0] + #line[1] + #line[3] + #line[4] > 0 then rare() end
end

local function append(line)
  if call('EXISTS', LANEOF) == 1 then
    for level = 0, 4 do line[level] = intolanes(line[level]) end
  end
  rarely(line)
  for level = 0, 4 do each('RPUSH', W[level], line[level]) end
end

-- prepend puts the ids to the front, so that the first of them comes first.
local function prepend(line)
  if call('EXISTS', LANEOF) == 1 then
    for level = 0, 4 do clockof(level).front = clockof(level).front + #line[level] end
    keepclock()
  end
  rarely(line)
  for level = 0, 4 do
    local ids, back = line[level], {}
    for i = #ids, 1, -1 do back[#back + 1] = ids[i] end
    each('LPUSH', W[level], back)
  end
end

-- levelof reads the level from the header of a body.
local function levelof(body)
  local first = body and string.byte(body, 1) or 64
  return math.min(4, math.floor(first / 32))
end

-- queueup has one job wait, in its lane if it has one.
local function queueup(level, id)
  local l = laneof(id)
  if l then enlane(id, l) else call('RPUSH', W[level], id) end
end
