-- jobs reads a page of the jobs in a state.
--
-- KEYS     jobs waiting scheduled leases running history blocked blockedon completed cancelled dead ghosts meta bell
-- USES     base clock bell waiting promote state describe
-- ARGV     state, level (of waiting jobs), offset, limit, how many bytes may be read, whether a larger job is read
--          all the same if it is the first
-- RETURNS  next level and next offset (-1, -1 after the last), then per job as in job.lua. It ends early
--          after these bytes, 200 jobs, or 2000 entries of ids that waited before.
-- COST     O(limit), and the offset's nodes of a long list
local state, level, offset, limit = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), math.min(200, tonumber(ARGV[4]))
local room, some = tonumber(ARGV[5]), ARGV[6] == '1'
if promote(1000) > 0 then ring() end

local ids, read, out = {}, 0, nil
if state == 'waiting' then
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
        -- The ghosts of an id come before the id's own entry, the last one.
        local n, own = tonumber(counts[i] or 0), true
        if n > 0 then
          own = stateof(id) == 'waiting'
          if own then
            local found = call('LPOS', W[level], id, 'RANK', n + 1, 'MAXLEN', steps)
            own = found == offset or not found and steps < call('LLEN', W[level])
            steps = steps - (found or steps)
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
  out, read = describe(ids, room, some)
  if read == 0 and #ids > 0 then
    level, offset = after[1][1], after[1][2] - 1
  elseif read < #ids then
    level, offset = after[read][1], after[read][2]
  end
  local any = false
  if level >= 0 then
    any = call('LLEN', W[level]) > offset
    for lower = level - 1, 0, -1 do any = any or call('LLEN', W[lower]) > 0 end
  end
  if not any then level, offset = -1, -1 end
else
  local key = ({
    scheduled = SCHEDULED, running = LEASES, blocked = BLOCKED,
    completed = COMPLETED, cancelled = CANCELLED, dead = DEAD,
  })[state]
  ids = call('ZRANGE', key, offset, offset + limit - 1)
  if state == 'blocked' then
    for i, member in ipairs(ids) do
      ids[i] = string.sub(member, (string.find(member, '\0', 1, true) or -1) + 2)
    end
  end
  out, read = describe(ids, room, some)
  offset = offset + read
  if offset >= call('ZCARD', key) then level, offset = -1, -1 end
end
return { level, offset, out }
