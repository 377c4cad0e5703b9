-- jobs reads a page of the jobs in a state.
--
-- KEYS     jobs waiting scheduled leases running history blocked blockedon completed cancelled dead ghosts laneof lanes meta bell
-- USES     base clock bell lanes waiting promote state describe
-- ARGV     state, where to begin (two values), limit, how many bytes may be read, whether a larger job is read
--          all the same if it is the first
-- RETURNS  where the next page begins ("end", "" after the last), then per job as in job.lua. It ends early
--          after these bytes, 200 jobs, or 2000 entries of ids that waited before.
--          A page of waiting jobs begins at a level and an offset, which hold as deleted ids stay in their lists, or of
--          those in lanes, which come last, at "lanes" and the member that was read last;
--          others begin after a score and a member, which hold whatever has left the set meanwhile.
-- COST     O(limit), and the offset's nodes of a long list; O(log jobs) steps to find the beginning
local state, limit = ARGV[1], math.min(200, tonumber(ARGV[4]))
local room, some = tonumber(ARGV[5]), ARGV[6] == '1'
if promote(1000) > 0 then ring() end

-- above compares as Redis orders members, which Lua leaves to the locale of the server.
local function above(a, b)
  for i = 1, math.min(#a, #b) do
    local x, y = string.byte(a, i), string.byte(b, i)
    if x ~= y then return x > y end
  end
  return #a > #b
end

local ids, read, out, first, second = {}, 0, nil, ARGV[2], ARGV[3]
if state == 'waiting' then
  local level, offset, lane = tonumber(first), tonumber(second), ''
  if first == 'lanes' then level, offset, lane = -1, 0, second end
  local function lanes(limit) return call('ZRANGEBYLEX', LANES, lane == '' and '[j' or '(' .. lane, '(k', 'LIMIT', 0, limit) end
  local haunted = tonumber(call('HGET', META, 'ghosts') or 0) > 0
  local looked, steps = 0, 20000 -- entries of the page, and those that it may be searched for in the list
  local after = {} -- of each id: where the page goes on after it
  while level >= 0 and #ids < limit and looked < 2000 and steps > 0 do
    local page = call('LRANGE', W[level], offset, offset + limit - #ids - 1)
    if #page == 0 then
      level, offset = level - 1, 0
    else
      local counts = {}
      if haunted then
        for i, id in ipairs(page) do counts[i] = level .. id end
        counts = fields(GHOSTS, counts)
      end
      for i, id in ipairs(page) do
        -- The ghosts of an id come before the id's own entry, the last one. Of a
        -- deleted job there is none.
        local n, own = tonumber(counts[i] or 0), true
        if n > 0 then
          own = call('HEXISTS', JOBS, id) == 1 and stateof(id) == 'waiting'
          if own then
            local length = call('LLEN', W[level])
            local found = call('LPOS', W[level], id, 'RANK', n + 1, 'MAXLEN', steps)
            own = found == offset or not found and steps < length
            steps = steps - (found or math.min(steps, length))
          end
        end
        offset, looked = offset + 1, looked + 1
        if own then
          ids[#ids + 1] = id
          after[#ids] = { level, offset }
        end
        if steps <= 0 then break end
      end
    end
  end
  for _, member in ipairs(level < 0 and #ids < limit and lanes(limit - #ids) or {}) do
    ids[#ids + 1] = string.sub(member, string.find(member, '\0', 1, true) + 16)
    after[#ids] = { -1, 0, member }
  end
  out, read = describe(ids, room, some)
  if read == 0 and #ids > 0 then
    level, offset = after[1][1], after[1][2] - 1
  elseif read > 0 then
    lane = after[read][3] or lane
    if read < #ids then level, offset = after[read][1], after[read][2] end
  end
  local any = false
  if level >= 0 then
    any = call('LLEN', W[level]) > offset
    for lower = level - 1, 0, -1 do any = any or call('LLEN', W[lower]) > 0 end
  end
  if any then
    first, second = string.format('%d', level), string.format('%d', offset)
  elseif #lanes(1) > 0 then
    first, second = 'lanes', lane
  else
    first, second = 'end', ''
  end
else
  local key = ({
    scheduled = SCHEDULED, running = LEASES, blocked = BLOCKED,
    completed = COMPLETED, cancelled = CANCELLED, dead = DEAD,
  })[state]
  local offset, stop = 0, call('ZCARD', key)
  local total = stop
  if first == '' then stop = 0 end
  while offset < stop do
    local middle = math.floor((offset + stop) / 2)
    local entry = call('ZRANGE', key, middle, middle, 'WITHSCORES')
    local score, after = tonumber(entry[2]), tonumber(first)
    if score < after or score == after and not above(entry[1], second) then
      offset = middle + 1
    else
      stop = middle
    end
  end
  local entries = call('ZRANGE', key, offset, offset + limit - 1, 'WITHSCORES')
  for i = 1, #entries, 2 do
    local id = entries[i]
    if state == 'blocked' then -- that of a parked one has 15 digits more
      id = string.sub(id, (string.find(id, '\0', 1, true) or -1) + (string.sub(id, 1, 6) == 'limit:' and 17 or 2))
    end
    ids[#ids + 1] = id
  end
  out, read = describe(ids, room, some)
  if offset + read >= total then
    first, second = 'end', ''
  elseif read > 0 then
    first, second = entries[2 * read], entries[2 * read - 1]
  end
end
return { first, second, out }
