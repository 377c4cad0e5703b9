-- enqueue stores jobs; an id that is held already is left as it is.
--
-- KEYS     jobs waiting scheduled running blockedon completed cancelled dead bell last
-- USES     base bell waiting promote state
-- ARGV     flight, memory in ms, then per job: id, when, body
--          when: level, then "+" and a delay, "=" and an instant (ms), or nothing
-- RETURNS  one letter per job, its state's; a capital if it was held already;
--          nothing if a later flight of this producer was there before
-- COST     O(jobs); a flight that is repeated costs one GET
local last = call('GET', LAST)
if last then
  local flight, answer = string.match(last, '^(%d+):(.*)$')
  if flight == ARGV[1] then return answer end
  if flight and tonumber(flight) > tonumber(ARGV[1]) then return '' end
end

local LETTERS = {
  scheduled = 'S', waiting = 'W', blocked = 'B', running = 'R',
  completed = 'C', cancelled = 'X', dead = 'D',
}
local SCALE = { 2 ^ 32, 2 ^ 24, 2 ^ 16, 2 ^ 8, 1 }
local headers = {}

local function header(level)
  if not headers[level] then
    local bytes = { level * 32 + math.floor(now / 2 ^ 40) }
    for i = 1, 5 do bytes[i + 1] = math.floor(now / SCALE[i]) % 256 end
    headers[level] = string.char(unpack(bytes))
  end
  return headers[level]
end

local ids = {}
for i = 3, #ARGV, 3 do ids[#ids + 1] = ARGV[i] end
local held = fields(JOBS, ids)
local head = call('ZRANGE', SCHEDULED, 0, 0, 'WITHSCORES')[2]
head = tonumber(head or math.huge)

local letters, seen = {}, {}
local bodies, line, scheduled = {}, lines(), {}
local first, anywaiting = math.huge, false
for i, id in ipairs(ids) do
  if seen[id] then
    letters[i] = string.upper(seen[id])
  elseif held[i] then
    letters[i] = LETTERS[stateof(id)]
  else
    local when = ARGV[3 * i + 1]
    local level, due = tonumber(string.sub(when, 1, 1)), 0
    local mark = string.sub(when, 2, 2)
    if mark == '+' then
      due = now + string.sub(when, 3)
    elseif mark == '=' then
      due = tonumber(string.sub(when, 3))
    end
    if due > now then
      local score = due * 8 + level
      scheduled[#scheduled + 1] = score
      scheduled[#scheduled + 1] = id
      first = math.min(first, score)
      letters[i] = 's'
    else
      if #line[level] == 0 then call('LLEN', W[level]) end
      line[level][#line[level] + 1] = id
      anywaiting = true
      letters[i] = 'w'
    end
    seen[id] = letters[i]
    bodies[#bodies + 1] = id
    bodies[#bodies + 1] = header(level) .. ARGV[3 * i + 2]
  end
end

if anywaiting or first < head then checkbell() end
each('HSET', JOBS, bodies)
if anywaiting then
  if head <= now * 8 + 7 then promote(1000) end
  append(line)
end
each('ZADD', SCHEDULED, scheduled)
if anywaiting or first < head then ring() end
local answer = table.concat(letters)
call('SET', LAST, ARGV[1] .. ':' .. answer, 'PX', ARGV[2])
return answer
