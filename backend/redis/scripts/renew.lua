-- renew prolongs leases and stores progress.
--
-- KEYS     leases running meta
-- USES     base clock grace
-- ARGV     duration in ms, then per lease: id, token, progress ("=" and the bytes, or nothing)
-- RETURNS  one letter per lease: . renewed, c renewed and to be cancelled, - lost
-- COST     O(leases)
local duration = tonumber(ARGV[1])
local ids = {}
for i = 2, #ARGV, 3 do ids[#ids + 1] = ARGV[i] end
local records = fields(RUNNING, ids)
local meta = call('HMGET', META, 'beat', 'grace')
call('ZCARD', LEASES)

local letters, scored, changed = {}, {}, {}
for i, id in ipairs(ids) do
  local token, record, progress = ARGV[3 * i], records[i], ARGV[3 * i + 1]
  if not record or string.sub(record, TOKENAT, TOKENAT + #token) ~= token .. '\0' then
    letters[i] = '-'
  else
    letters[i] = string.sub(record, 1, 1) == '1' and 'c' or '.'
    scored[#scored + 1] = now + duration
    scored[#scored + 1] = id
    if progress ~= '' then
      changed[#changed + 1] = id
      changed[#changed + 1] = string.sub(record, 1, TOKENAT + #token) .. string.sub(progress, 2)
    end
  end
end

call('HDEL', META, '') -- a first write that a full store allows, after which it allows all
each('ZADD', LEASES, scored)
each('HSET', RUNNING, changed)
local grace, stale, moved = graceof(meta[1], meta[2], duration)
if stale then leavebeat(grace, moved) end
return table.concat(letters)
