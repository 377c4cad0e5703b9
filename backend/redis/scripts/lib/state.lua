-- state: where a job is whose body is stored, and what is known of it there.
local function stateof(id)
  local record = call('HGET', RUNNING, id)
  if record then return 'running', record end
  local score = call('ZSCORE', SCHEDULED, id)
  if score then return 'scheduled', score end
  local on = call('HGET', BLOCKEDON, id)
  if on then return 'blocked', on end
  score = call('ZSCORE', COMPLETED, id)
  if score then return 'completed', score end
  score = call('ZSCORE', CANCELLED, id)
  if score then return 'cancelled', score end
  score = call('ZSCORE', DEAD, id)
  if score then return 'dead', score end
  return 'waiting', ''
end

-- held reports whether the body of a job is stored, of a size as HSTRLEN tells it: a
-- damaged one may be empty.
local function held(id, size) return size > 0 or call('HEXISTS', JOBS, id) == 1 end
