-- enqueue stores jobs; an id that is held already is left as it is.
--
-- KEYS     jobs waiting scheduled running blockedon completed cancelled dead bell last
-- USES     base clock
-- ARGV     flight, memory in ms, then groups of jobs that have a when in common: when, how many, and for each its
--          id and body
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

local ids, whens, texts = {}, {}, {}
local at, count, n = 3, #ARGV, 0
while at < count do
  local when, size = ARGV[at], tonumber(ARGV[at + 1])
  at = at + 2
  for _ = 1, size do
    n = n + 1
    ids[n], whens[n], texts[n] = ARGV[at], when, ARGV[at + 1]
    at = at + 2
  end
end
local held = fields(JOBS, ids)
local head = tonumber(call('ZRANGE', SCHEDULED, 0, 0, 'WITHSCORES')[2] or math.huge)

local letters, seen = {}, {}
local bodies, line, levels, scheduled = {}, {}, {}, {}
local first = math.huge
local when, level, due, header -- of the job before, mostly the same
for i = 1, n do
  local id = ids[i]
  if seen[id] then
    letters[i] = string.upper(seen[id])
  elseif held[i] then
    -- USES state
    local LETTERS = {
      scheduled = 'S', waiting = 'W', blocked = 'B', running = 'R',
      completed = 'C', cancelled = 'X', dead = 'D',
    }
    letters[i] = LETTERS[stateof(id)]
  else
    if whens[i] ~= when then
      when = whens[i]
      level, due = tonumber(string.sub(when, 1, 1)), 0
      local mark = string.sub(when, 2, 2)
      if mark == '+' then
        due = now + string.sub(when, 3)
      elseif mark == '=' then
        due = tonumber(string.sub(when, 3))
      end
      -- Six bytes: the level in three bits, then the instant.
      local low = now % 4294967296
      header = struct.pack('>HI4', level * 8192 + (now - low) / 4294967296, low)
    end
    if due > now then
      local score = due * 8 + level
      scheduled[#scheduled + 1] = score
      scheduled[#scheduled + 1] = id
      first = math.min(first, score)
      letters[i] = 's'
    else
      local ahead = line[level]
      if not ahead then
        ahead = {}
        line[level] = ahead
        levels[#levels + 1] = level
      end
      ahead[#ahead + 1] = id
      letters[i] = 'w'
    end
    seen[id] = letters[i]
    bodies[#bodies + 1] = id
    bodies[#bodies + 1] = header .. texts[i]
  end
end

if #levels > 0 then
  for i = 2, #levels do call('LLEN', W[levels[i]]) end -- of a wrong type it ends the script here
  if head <= now * 8 + 7 then
    -- USES waiting promote
    promote(1000) -- they became due before
  end
  for i = 1, #levels do each('RPUSH', W[levels[i]], line[levels[i]]) end
end
each('HSET', JOBS, bodies)
each('ZADD', SCHEDULED, scheduled)
if #levels > 0 or first < head then
  -- USES bell
  ring()
end
local answer = table.concat(letters)
call('SET', LAST, ARGV[1] .. ':' .. answer, 'PX', ARGV[2])
return answer
