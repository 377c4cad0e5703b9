-- promote moves up to limit due jobs from the scheduled to the waiting ones,
-- in the order in which they became due, and answers how many it moved.
local function promote(limit)
  local due = call('ZRANGEBYSCORE', SCHEDULED, '-inf', now * 8 + 7, 'WITHSCORES', 'LIMIT', 0, limit)
  if #due == 0 then return 0 end
  checklists()
  local ids, line = {}, lines()
  for i = 1, #due, 2 do
    local level = math.min(4, due[i + 1] % 8)
    ids[#ids + 1] = due[i]
    line[level][#line[level] + 1] = due[i]
  end
  each('ZREM', SCHEDULED, ids)
  append(line)
  call('HSET', META, 'mixed', 1) -- see limits.lua
  rare()
  return #ids
end
