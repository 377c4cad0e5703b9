-- lease_common is the common path of lease: of a queue in which only jobs of the
-- usual priority wait, without limits, none is blocked but by limits, none was taken out of
-- the line, no lease has expired and nothing scheduled or parked is due. META says so in 'common': until when. The
-- scripts that make it untrue delete it, and lease, which finds out anew, sets it.
--
-- KEYS     jobs usual leases running history meta bell last
-- ARGV     token, process, number, max, duration in ms, how many of max are leased ahead
-- RETURNS  now, next due (0 for none), left, expiry, ids, bodies, histories (empty if there are none at all);
--          0 rare: it is for lease, and as a bell may have been taken for this call, it rings again
-- COST     O(jobs handed out)
local call = redis.call
local token, max, duration = ARGV[1], tonumber(ARGV[4]), tonumber(ARGV[5])
local function rare()
  if call('EXISTS', BELL) == 0 then call('RPUSH', BELL, 1) end
  return 0
end

local clock = call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local meta = call('HMGET', META, 'common', 'due', 'beat', 'grace')
if not meta[1] or now >= tonumber(meta[1]) then return rare() end
local last = call('GET', LAST)
if last then
  local before, by, number = string.match(last, '^([^\n]*)\n([^\n]*)\n(%d+)')
  if before == token or by == ARGV[2] and tonumber(number) > tonumber(ARGV[3]) then return rare() end
end
local due, beat, grace = tonumber(meta[2]), tonumber(meta[3] or 0), tonumber(meta[4] or 0)
local head = call('ZRANGE', LEASES, 0, 0, 'WITHSCORES')[2]
if head then
  head = tonumber(head)
  if head <= now or grace > now or now - math.max(beat, grace) > duration / 2 then return rare() end
end
local ids = call('LRANGE', USUAL, 0, max)
local n = #ids
local more = n > max
if more then ids[n], n = nil, max end

local CHUNK = 1000
local bodies, past, leases, records = {}, {}, {}, {}
local expires = now + duration
if n > 0 then
  if n <= CHUNK then
    bodies = call('HMGET', JOBS, unpack(ids))
  else
    for i = 1, n, CHUNK do
      local some = call('HMGET', JOBS, unpack(ids, i, math.min(i + CHUNK - 1, n)))
      for j = 1, #some do bodies[i + j - 1] = some[j] end
    end
  end
  local score, begun = string.format('%d', expires), max - tonumber(ARGV[6])
  local record = '02--------------------------------------' .. token .. '\0'
  local ahead = '2' .. string.sub(record, 2)
  local at = 1
  for i = 1, n do
    local id = ids[i]
    if not bodies[i] then return rare() end
    leases[at], leases[at + 1] = score, id
    records[at], records[at + 1] = id, i > begun and ahead or record
    at = at + 2
  end
  if call('HLEN', HISTORY) > 0 then
    for i = 1, n, CHUNK do
      local some = call('HMGET', HISTORY, unpack(ids, i, math.min(i + CHUNK - 1, n)))
      for j = 1, #some do past[i + j - 1] = some[j] or '' end
    end
  end
end

call('HDEL', RUNNING, '') -- of a wrong type it ends the script here; and as a full store allows it, it allows all that follows
if n > 0 then
  call('LTRIM', USUAL, n, -1)
  for i = 1, 2 * n, CHUNK do
    local to = math.min(i + CHUNK - 1, 2 * n)
    call('ZADD', LEASES, unpack(leases, i, to))
    call('HSET', RUNNING, unpack(records, i, to))
  end
  head = head or expires
end
if now - beat > 500 then call('HSET', META, 'beat', now) end
call('SET', LAST, token .. '\n' .. ARGV[2] .. '\n' .. ARGV[3] .. '\n1\n' .. table.concat(ids, '\n'), 'PX', MEMORY)
local left = 0
if more then left = call('LLEN', USUAL) end
if left > 0 or due > 0 and n == max then
  if call('EXISTS', BELL) == 0 then call('RPUSH', BELL, 1) end
else
  call('DEL', BELL)
end
if head and (due == 0 or math.max(head, grace) < due) then due = math.max(head, grace) end
return { now, due, left, expires, ids, bodies, past }
