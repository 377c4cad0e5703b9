-- sweep does the housekeeping of a queue: expired leases, due jobs, retention.
--
-- KEYS     jobs waiting scheduled leases running history blocked completed cancelled dead meta bell
-- USES     base clock bell waiting promote history final grace reclaim
-- ARGV     duration in ms, retention, then keys
-- RETURNS  reclaimed, trimmed, more, those of the keys for which blocked jobs wait
-- COST     O(what it finds), at most 1000 of each, and O(keys)
local duration = tonumber(ARGV[1])
RETENTION = ARGV[2]
local meta = call('HMGET', META, 'beat', 'grace')
call('HDEL', META, '') -- a first write that a full store allows, after which it allows all

local reclaimed, more = 0, 0
if duration > 0 then
  local grace, stale, changed = graceof(meta[1], meta[2], duration)
  if stale or changed then leavebeat(grace, changed) end
  if grace <= now then reclaimed = reclaim(1000) end
end
local moved = promote(1000)
local trimmed = 0
for _, state in ipairs({ 'completed', 'cancelled', 'dead' }) do
  local n, full = trim(state, 1000)
  trimmed = trimmed + n
  if full then more = 1 end
end
if reclaimed == 1000 or moved == 1000 then more = 1 end
if reclaimed > 0 or moved > 0 then ring() end
local keys = {}
for i = 3, #ARGV do
  local key = ARGV[i]
  if #call('ZRANGEBYLEX', BLOCKED, '[' .. key .. '\0', '(' .. key .. '\1', 'LIMIT', 0, 1) > 0 then
    keys[#keys + 1] = key
  end
end
return { reclaimed, trimmed, more, keys }
