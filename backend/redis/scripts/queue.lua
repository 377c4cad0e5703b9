-- queue reads the counts of a queue.
--
-- KEYS     jobs waiting scheduled leases blocked completed cancelled dead ghosts lanes meta
-- USES     base clock paused
-- ARGV     none
-- RETURNS  paused (1 for good, or until when), oldest waiting (ms, 0 for none), then the number of jobs
--          scheduled, waiting, blocked, running, completed, cancelled, dead,
--          then ever completed, failed, cancelled, dead, crashed, trimmed
-- COST     O(1)
local meta = call('HMGET', META, 'paused', 'ghosts', 'completed', 'failed', 'cancelled', 'dead', 'crashed', 'trimmed')
local due = call('ZCOUNT', SCHEDULED, '-inf', now * 8 + 7)
local waiting, oldest = due - tonumber(meta[2] or 0), 0
local function look(id)
  local body = id and call('HGET', JOBS, id)
  if not body or #body < 6 then return false end
  local at = string.byte(body, 1) % 32
  for i = 2, 6 do at = at * 256 + string.byte(body, i) end
  if oldest == 0 or at < oldest then oldest = at end
  return true
end
for level = 0, 4 do
  waiting = waiting + call('LLEN', W[level])
  local spent = {}
  local haunted = tonumber(meta[2] or 0) > 0
  for _, id in ipairs(call('LRANGE', W[level], 0, haunted and 99 or 0)) do
    local ghosts = haunted and tonumber(call('HGET', GHOSTS, level .. id) or 0) or 0
    if (spent[id] or 0) < ghosts then
      spent[id] = (spent[id] or 0) + 1
    elseif look(id) then
      break
    end
  end
end
local laned = call('ZLEXCOUNT', LANES, '[j', '(k')
for level = laned > 0 and 4 or -1, 0, -1 do
  local member = call('ZRANGEBYLEX', LANES, '[w' .. level, '(w' .. level + 1, 'LIMIT', 0, 1)[1]
  local lane = member and '[j' .. level .. string.sub(member, 36) .. '\0'
  local first = lane and call('ZRANGEBYLEX', LANES, lane, '(k', 'LIMIT', 0, 1)[1]
  if first then look(string.sub(first, #lane + 15)) end
end
if due > 0 then look(call('ZRANGE', SCHEDULED, 0, 0)[1]) end
return {
  tonumber(pausedfrom(meta[1]) or 0), oldest,
  call('ZCARD', SCHEDULED) - due, waiting + laned, call('ZCARD', BLOCKED), call('ZCARD', LEASES),
  call('ZCARD', COMPLETED), call('ZCARD', CANCELLED), call('ZCARD', DEAD),
  tonumber(meta[3] or 0), tonumber(meta[4] or 0), tonumber(meta[5] or 0),
  tonumber(meta[6] or 0), tonumber(meta[7] or 0), tonumber(meta[8] or 0),
}
