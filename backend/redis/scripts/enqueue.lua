-- enqueue stores jobs; an id that is held already is left as it is.
--
-- KEYS     jobs waiting scheduled running history blockedon completed cancelled dead laneof lanes meta bell last
-- USES     base clock
-- ARGV     flight, then groups of jobs that have a when in common: when, how many, and for each its id and body
--          when: level, "~" if a finished job of the id gives way, then "+" and a delay, "=" and an instant (ms),
--          "!", or nothing
--          With "!" the ids are new for certain and the bodies have their headers.
-- RETURNS  now, one letter per job, its state's; a capital if it was held already;
--          no letters if a later flight of this producer was there before
-- COST     O(jobs); a flight that is repeated costs one GET
local last = call('GET', LAST)
if last then
  local flight, answer = string.match(last, '^(%d+):(.*)$')
  if flight == ARGV[1] then return { now, answer } end
  if flight and tonumber(flight) > tonumber(ARGV[1]) then return { now, '' } end
end
local head = tonumber(call('ZRANGE', SCHEDULED, 0, 0, 'WITHSCORES')[2] or math.huge)

local letters, lot = {}, 0 -- of each lot: one job, or a group that is new
local line, levels = {}, {} -- the ids that are to wait, by level
local function ahead(level)
  local ids = line[level]
  if not ids then
    ids = {}
    line[level] = ids
    levels[#levels + 1] = level
  end
  return ids
end
local bulky = false
local groups = {} -- where the new ones begin and end
local ids, whens, texts, lots -- of the others
local at, count, n = 2, #ARGV, 0
while at < count do
  local when, size = ARGV[at], tonumber(ARGV[at + 1])
  at = at + 2
  if string.sub(when, 2, 2) == '!' then
    local waiting = ahead(tonumber(string.sub(when, 1, 1)))
    local have, stop = #waiting, at + 2 * size
    groups[#groups + 1], groups[#groups + 2] = at, stop - 1
    for i = at, stop - 1, 2 do
      have = have + 1
      waiting[have] = ARGV[i]
      bulky = bulky or #ARGV[i + 1] > BULKY
    end
    at, lot = stop, lot + 1
    letters[lot] = size == 1 and 'w' or string.rep('w', size)
  else
    if not ids then ids, whens, texts, lots = {}, {}, {}, {} end
    for _ = 1, size do
      n, lot = n + 1, lot + 1
      ids[n], whens[n], texts[n], lots[n] = ARGV[at], when, ARGV[at + 1], lot
      at = at + 2
    end
  end
end

local bodies, scheduled, first = {}, {}, math.huge
local replaced -- the finished jobs that give way, by state
if n > 0 then
  local seen = {}
  local when, level, due, header -- of the job before, mostly the same
  -- USES state
  local LETTERS = {
    scheduled = 'S', waiting = 'W', blocked = 'B', running = 'R',
    completed = 'C', cancelled = 'X', dead = 'D',
  }
  for i = 1, n do
    local id, letter = ids[i], 'w'
    if seen[id] then
      letter = string.upper(seen[id])
    elseif call('HEXISTS', JOBS, id) == 1 then -- their bodies may be large
      local state = stateof(id)
      letter = LETTERS[state]
      if string.sub(whens[i], 2, 2) == '~' and (state == 'completed' or state == 'cancelled' or state == 'dead') then
        if not replaced then replaced = {} end
        if not replaced[state] then replaced[state] = {} end
        table.insert(replaced[state], id)
        letter = 'w'
      end
    end
    if letter == 'w' then
      if whens[i] ~= when then
        when = whens[i]
        level, due = tonumber(string.sub(when, 1, 1)), 0
        local mark, instant = string.match(when, '^.~?([+=])(.*)$')
        if mark == '+' then
          due = now + instant
        elseif mark == '=' then
          due = tonumber(instant)
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
        letter = 's'
      else
        local waiting = ahead(level)
        waiting[#waiting + 1] = id
      end
      seen[id] = letter
      bodies[#bodies + 1] = id
      bodies[#bodies + 1] = header .. texts[i]
      bulky = bulky or #texts[i] > BULKY
    end
    letters[lots[i]] = letter
  end
end

if #levels > 0 then
  if n == 0 then call('HEXISTS', JOBS, '') end -- of a wrong type it ends the script here, as do these
  for i = 2, #levels do call('LLEN', W[levels[i]]) end
  if head <= now * 8 + 7 then
    -- USES lanes waiting promote
    promote(1000) -- they became due before
  end
  for i = 1, #levels do each('RPUSH', W[levels[i]], line[levels[i]]) end
end
each('ZADD', SCHEDULED, scheduled)
if replaced then -- after a write that a full store refuses
  -- USES final
  call('HLEN', HISTORY)
  for state, held in pairs(replaced) do forget(state, held) end
end
for i = 1, #groups, 2 do
  for from = groups[i], groups[i + 1], CHUNK do
    call('HSET', JOBS, unpack(ARGV, from, math.min(from + CHUNK - 1, groups[i + 1])))
  end
end
each('HSET', JOBS, bodies)
if bulky then call('HSET', META, 'bulky', 1) end
if bulky or #levels > 1 or #levels == 1 and levels[1] ~= 2 or first < head then
  call('HDEL', META, 'common') -- see lease_common
end
if #levels > 0 or first < head then
  -- USES bell
  ring()
end
local answer = table.concat(letters)
call('SET', LAST, ARGV[1] .. ':' .. answer, 'PX', MEMORY)
return { now, answer }
