-- jobs reads a page of the jobs in a state.
--
-- KEYS     jobs waiting scheduled leases running history blocked blockedon completed cancelled dead ghosts meta bell
-- USES     base clock bell waiting promote state describe
-- ARGV     state, level (of waiting jobs), offset, limit
-- RETURNS  next level and next offset (-1, -1 after the last), then per job as in job.lua
-- COST     O(limit), and the offset's nodes of a long list
local state, level, offset, limit = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
if promote(1000) > 0 then ring() end

local ids = {}
if state == 'waiting' then
  local ghosts = tonumber(call('HGET', META, 'ghosts') or 0)
  local looked = 0
  while level >= 0 and #ids < limit and looked < 10000 do
    local page = call('LRANGE', W[level], offset, offset + limit - #ids - 1)
    if #page == 0 then
      level, offset = level - 1, 0
    else
      for i, id in ipairs(page) do
        local n = ghosts > 0 and tonumber(call('HGET', GHOSTS, level .. id) or 0) or 0
        if n == 0 or call('LPOS', W[level], id, 'RANK', n + 1, 'MAXLEN', 100000) == offset + i - 1 then
          ids[#ids + 1] = id
        end
      end
      offset, looked = offset + #page, looked + #page
    end
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
  offset = offset + #ids
  if offset >= call('ZCARD', key) then level, offset = -1, -1 end
  if state == 'blocked' then
    for i, member in ipairs(ids) do
      ids[i] = string.sub(member, (string.find(member, '\0', 1, true) or -1) + 2)
    end
  end
end
return { level, offset, describe(ids) }
