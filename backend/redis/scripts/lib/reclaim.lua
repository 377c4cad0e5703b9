-- reclaim returns up to limit jobs whose leases have expired to the front of
-- their lists and counts a crash for each; one that was to be cancelled becomes
-- cancelled. It answers how many there were.
local function reclaim(limit)
  local ids = call('ZRANGEBYSCORE', LEASES, '-inf', now, 'LIMIT', 0, limit)
  if #ids == 0 then return 0 end
  checklists()
  local records, blobs = fields(RUNNING, ids), fields(HISTORY, ids)
  local line, histories, cancelled, lost = lines(), {}, {}, 0
  for i, id in ipairs(ids) do
    local record = records[i]
    local level = record and tonumber(string.sub(record, 2, 2))
    if not level or level > 4 then
      local body = call('HGET', JOBS, id)
      if body then level = levelof(body) else level, lost = nil, lost + 1 end
    end
    if level then
      local blob = crashed(blobs[i])
      local progress = record and progressof(record)
      if progress then blob = withprogress(blob, progress) end
      histories[#histories + 1] = id
      histories[#histories + 1] = blob
      if record and string.sub(record, 1, 1) == '1' then
        cancelled[#cancelled + 1] = id
      else
        line[level][#line[level] + 1] = id
      end
    end
  end
  each('ZREM', LEASES, ids)
  each('HDEL', RUNNING, ids)
  each('HSET', HISTORY, histories)
  prepend(line)
  call('HINCRBY', META, 'crashed', #ids - lost)
  if #cancelled > 0 then
    call('HINCRBY', META, 'cancelled', #cancelled)
    finish('cancelled', cancelled)
  end
  return #ids
end
