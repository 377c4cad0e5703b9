-- unique: how a job takes a key.

-- holderof is the id of the job that holds a key, nil if none does: its time is up, or
-- the job has vanished.
local function holderof(key)
  local id = call('HGET', HOLDERS, key)
  if not id then return end
  local stop = call('ZSCORE', HOLDTIMES, key)
  if stop then return tonumber(stop) > now and id or nil end
  local hold = call('HGET', HOLDS, id)
  return hold and string.sub(hold, 2) == key and call('HEXISTS', JOBS, id) == 1 and id or nil
end

-- take has a job hold a key, for a time in ms if the hold is t.
local function take(id, hold, key, time)
  call('HSET', HOLDERS, key, id)
  call('HSET', HOLDS, id, hold .. key)
  if hold == 't' then
    call('ZADD', HOLDTIMES, string.format('%.0f', now + time), key)
  else
    call('ZREM', HOLDTIMES, key)
  end
  rare()
end

-- meet looks for another holder of the key of a new job. It answers its id, its state
-- ('' if it has gone), and whether the new job takes its place.
local function meet(key, conflict)
  local id = holderof(key)
  if not id then return end
  local state = call('HEXISTS', JOBS, id) == 1 and stateof(id) or ''
  local hold = call('HGET', HOLDS, id)
  return id, state, conflict == 'r' and (state == 'scheduled' or state == 'waiting' or state == 'blocked')
    and hold and string.find(hold, '^%l') and string.sub(hold, 2) == key and true or false
end

-- withdraw removes a job that has not started, so that one can be stored in its place.
local function withdraw(id, state)
  if state == 'scheduled' then
    call('ZREM', SCHEDULED, id)
  elseif state == 'blocked' then
    unblock(id, call('HGET', BLOCKEDON, id))
  elseif not leave(id) then
    haunt(levelof(call('HGET', JOBS, id)), id)
  end
  call('HDEL', JOBS, id)
  call('HDEL', HISTORY, id)
  letgo({ id }, true)
  vacate({ id }, true)
  forgetlanes({ id })
  rare()
end
