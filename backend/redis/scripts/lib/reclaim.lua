-- reclaim returns up to limit jobs whose leases have expired to the front of
-- their lists and counts a crash for each that was not leased ahead; one that was
-- to be cancelled becomes cancelled. Of progress and histories it reads 4 MiB at most,
-- or one job's. It answers how many there were, and whether more may be left.
local function reclaim(limit)
  local ids = call('ZRANGEBYSCORE', LEASES, '-inf', now, 'LIMIT', 0, limit)
  if #ids == 0 then return 0, false end
  local full, room = #ids == limit, 4194304
  for i, id in ipairs(ids) do
    room = room - call('HSTRLEN', RUNNING, id) - call('HSTRLEN', HISTORY, id)
    if room < 0 and i > 1 then
      ids, full = { unpack(ids, 1, i - 1) }, true
      break
    end
  end
  checklists()
  local records, blobs = fields(RUNNING, ids), fields(HISTORY, ids)
  local line, histories, cancelled, vanished, crashes = lines(), {}, {}, {}, 0
  for i, id in ipairs(ids) do
    local record = records[i]
    local level = record and tonumber(string.sub(record, 2, 2))
    if not level or level > 4 then
      local body = call('HGET', JOBS, id)
      level = body and levelof(body)
    end
    if level then
      local blob, ahead = blobs[i], record and string.sub(record, 1, 1) == '2'
      if not ahead then blob, crashes = crashed(blob), crashes + 1 end
      local progress = record and progressof(record)
      if progress then blob = withprogress(blob, progress) end
      if blob then
        if #blob > BULKY then
          call('HSET', META, 'bulky', 1)
          rare()
        end
        histories[#histories + 1] = id
        histories[#histories + 1] = blob
      end
      if record and string.sub(record, 1, 1) == '1' then
        cancelled[#cancelled + 1] = id
      else
        line[level][#line[level] + 1] = id
      end
    else
      vanished[#vanished + 1] = id
    end
  end
  each('ZREM', LEASES, ids)
  each('HDEL', RUNNING, ids)
  each('HSET', HISTORY, histories)
  prepend(line)
  vacate(ids, false, true)
  call('HINCRBY', META, 'crashed', crashes)
  if #cancelled > 0 then
    call('HINCRBY', META, 'cancelled', #cancelled)
    finish('cancelled', cancelled)
    letgo(cancelled)
    vacate(cancelled, true)
    forgetlanes(cancelled)
  end
  letgo(vanished, true)
  vacate(vanished, true)
  forgetlanes(vanished)
  return #ids, full
end
