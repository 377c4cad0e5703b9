-- keys: the unique keys. HOLDERS has the id of the holder by key; HOLDS, of a holder that
-- has not finished, its hold and key by id: f until finished, s until started, t for a
-- time, a capital once it was leased; HOLDTIMES the keys that are held for a time, by its
-- end. The record of a running job whose end concerns HOLDS has a plus before the token.

-- letgo ends the holds of jobs that have finished, or that are deleted: what is held for a
-- time is let go then only.
local function letgo(ids, deleted)
  if #ids == 0 or call('EXISTS', HOLDS) == 0 then return end
  for i, hold in ipairs(fields(HOLDS, ids)) do
    if hold then
      local id, key, timed = ids[i], string.sub(hold, 2), string.find(hold, '^[tT]')
      call('HDEL', HOLDS, id)
      if (deleted or not timed) and call('HGET', HOLDERS, key) == id then
        call('HDEL', HOLDERS, key)
        if timed then call('ZREM', HOLDTIMES, key) end
      end
    end
  end
end

-- expirekeys frees up to limit keys whose time is up, and answers how many.
local function expirekeys(limit)
  local keys = call('ZRANGEBYSCORE', HOLDTIMES, '-inf', now, 'LIMIT', 0, limit)
  each('HDEL', HOLDERS, keys)
  each('ZREM', HOLDTIMES, keys)
  return #keys
end
