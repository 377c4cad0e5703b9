-- sweep does the housekeeping of a queue: expired leases, due jobs, retention.
--
-- KEYS     jobs waiting scheduled leases running history blocked completed cancelled dead laneof lanes meta bell holders holds holdtimes limited slots rates ready
-- USES     base clock paused bell lanes waiting promote history final grace keys limits mend reclaim
-- ARGV     duration in ms, retention, proof (see grace), then keys
-- RETURNS  reclaimed, trimmed, more, those of the keys for which blocked jobs wait, in how many ms the next lease
--          expires and in how many that happens, a job is due or a pause ends (-1: there is none of them),
--          how often schedules have changed
-- COST     O(what it finds), at most 1000 of each, and O(keys)
local duration = tonumber(ARGV[1])
RETENTION = ARGV[2]
local meta = call('HMGET', META, 'paused', 'beat', 'grace', 'schedules')
call('HDEL', META, '') -- a first write that a full store allows, after which it allows all

local reclaimed, more = 0, 0
local grace, stale, changed = graceof(meta[2], meta[3], duration, ARGV[3])
if stale then leavebeat(grace, changed) end
if grace <= now then
  local full
  reclaimed, full = reclaim(1000)
  if full then more = 1 end
end
local moved = promote(1000)
local trimmed = 0
for _, state in ipairs({ 'completed', 'cancelled', 'dead' }) do
  local n, full = trim(state, 1000)
  trimmed = trimmed + n
  if full then more = 1 end
end
if expirekeys(1000) == 1000 or moved == 1000 then more = 1 end
mend()
local full = call('ZRANGEBYSCORE', RATES, '-inf', string.format('%.0f', micro), 'LIMIT', 0, 1000)
each('ZREM', RATES, full)
if #full == 1000 then more = 1 end
if call('EXISTS', LANES) == 1 then
  for level = 0, 4 do
    if call('LLEN', W[level]) == 0 and not nextlane(level) then over(level) end
    if forgetpassed(level, 1000) == 1000 then more = 1 end
  end
  keepclock()
end
local keys = {}
for i = 4, #ARGV do
  local key = ARGV[i]
  if #call('ZRANGEBYLEX', BLOCKED, '[' .. key .. '\0', '(' .. key .. '\1', 'LIMIT', 0, 1) > 0 then
    keys[#keys + 1] = key
  end
end

-- Who was to be woken may have vanished, with the bell or with what it knew to be due.
local paused = pausedfrom(meta[1])
local due = call('ZRANGE', SCHEDULED, 0, 0, 'WITHSCORES')[2]
local ready = call('ZRANGE', READY, 0, 0, 'WITHSCORES')[2]
if paused ~= '1' and (due or ready and tonumber(ready) <= now or call('EXISTS', W[0], W[1], W[2], W[3], W[4], LANES) > 0) then ring() end

local expires, soon = -1, -1
local head = call('ZRANGE', LEASES, 0, 0, 'WITHSCORES')[2]
if head then
  expires = math.max(0, tonumber(head) - now, grace - now)
  soon = expires
end
if due then
  local wait = math.max(0, math.floor(due / 8) - now)
  if soon < 0 or wait < soon then soon = wait end
end
if ready and not paused then
  local wait = math.max(0, tonumber(ready) - now)
  if soon < 0 or wait < soon then soon = wait end
end
if paused and paused ~= '1' then
  local wait = tonumber(paused) - now
  if soon < 0 or wait < soon then soon = wait end
end
return { reclaimed, trimmed, more, keys, expires, soon, tonumber(meta[4] or 0) }
