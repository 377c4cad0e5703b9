-- tick advances schedules and enqueues their jobs.
--
-- KEYS     schedules jobs waiting scheduled running history blocked blockedon completed cancelled dead ghosts laneof lanes meta bell holders holds holdtimes limited classes slots rates ready
-- USES     base clock bell lanes waiting promote state ghosts final keys limits rules enroll cancel unique schedule writeschedule
-- ARGV     retention, then per tick: name, version, instant and next one in ms, missed, overlap, then id, level, due in
--          ms (0: now; "+" and a delay), body, hold, key, time, conflict, limits and lane (see enqueue_unique) of the job;
--          an id of '' is none
--          overlap: allow, skip, wait, cancel
-- RETURNS  now, then per tick: what became of it, the id of a running job to be cancelled, name, record, state of the
--          last job
-- COST     O(ticks)
RETENTION = ARGV[1]

local function enqueue(id, level, due, body, lane)
  due = string.sub(due, 1, 1) == '+' and now + string.sub(due, 2) or tonumber(due)
  local low = now % 4294967296
  local header = struct.pack('>HI4', level * 8192 + (now - low) / 4294967296, low)
  local l = lane ~= '' and lanefrom(level, lane)
  if due > now then
    call('ZADD', SCHEDULED, due * 8 + level, id)
    if l then writelane(id, l) end
  else
    promote(1000)
    if l then enlane(id, l) else call('RPUSH', W[level], id) end
  end
  call('HSET', JOBS, id, header .. body)
  rare()
  if #body > BULKY then call('HSET', META, 'bulky', 1) end
  ring()
end

-- enter stores a job, unless its key or its limits keep it from that. It answers the id under
-- which it is there, nil if another job holds its key, or if it is refused.
local function enter(id, level, due, body, hold, key, time, conflict, limits, lane)
  if call('HEXISTS', JOBS, id) == 1 then return id end
  local other, state, replaces
  if hold ~= '' then other, state, replaces = meet(key, conflict) end
  if other == id then return id end
  if other and not replaces then return end
  local list = declared(limits)
  declare(list)
  if refuses(list, other) then return end
  if other then withdraw(other, state) end
  id = other or id
  enqueue(id, level, due, body, lane)
  if hold ~= '' then take(id, hold, key, time) end
  enroll(id, list)
  return id
end

-- tick answers what became of it, and the id of a running job that is to be told.
local function tick(name, version, at, next, missed, overlap, id, level, due, body, hold, key, time, conflict, limits, lane)
  local s = readschedule(name)
  if not s then return 'stale', '' end
  if s.version ~= version then return id ~= '' and s.job == id and 'enqueued' or 'stale', '' end
  if tonumber(at) > now then return 'early', '' end
  local became, told = 'passed', ''
  if id ~= '' then
    became = 'enqueued'
    local state, value = jobstate(s.job)
    local unfinished = s.job ~= id and state ~= '' and not FINAL[state]
    if unfinished and overlap == 'wait' then return 'waits', '' end
    if unfinished and overlap == 'skip' then became = 'skipped' end
    checklists()
    call('EXISTS', BELL)
    call('HINCRBY', META, 'versions', 0) -- the first write: a full store refuses it
    if became == 'enqueued' then
      if unfinished and overlap == 'cancel' and cancel(s.job) == 'R' then told = s.job end
      local entered = enter(id, tonumber(level), due, body, hold, key, time, conflict, limits, lane)
      if entered then
        s.last, s.job, s.enqueued = at, entered, s.enqueued + 1
      else
        became = 'skipped'
      end
    end
  end
  s.skipped, s.next = s.skipped + tonumber(missed), next
  if became ~= 'enqueued' then s.skipped = s.skipped + 1 end
  writeschedule(name, s)
  return became, told
end

local results = { now }
for i = 2, #ARGV, 16 do
  local became, told = tick(unpack(ARGV, i, i + 15))
  results[#results + 1] = { became, told, unpack(answer(ARGV[i])) }
end
return results
