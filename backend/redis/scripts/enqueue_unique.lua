-- enqueue_unique stores jobs of which some hold unique keys, have limits or wait in lanes, one after the other.
--
-- KEYS     jobs waiting scheduled running history blocked blockedon completed cancelled dead ghosts laneof lanes meta bell holders holds holdtimes limited classes slots rates ready last
-- USES     base clock lanes waiting promote state ghosts final bell keys limits rules enroll unique
-- ARGV     flight, then for each job: id, when (see enqueue, but for "!"), body, hold (f until finished, s until started,
--          t for a time, '' for a job without a key), key, time in ms, conflict (k keep, r replace), limits (a line for each: hold as in lib/limits,
--          cost, slots, rate, per in microseconds and burst, and the pair), lane (see lib/lanes; '' for none)
-- RETURNS  now, one letter per job (the state of the job or of the holder; a capital, or - if that has gone, if
--          nothing was stored; ! if a limit refuses it), the ids of the holders, a line each; an empty line where
--          there is none, and for an id that was held already; for ! the pair. No letters if a later flight of this producer was there before
-- COST     O(jobs), and up to 100 keys whose time is up; a flight that is repeated costs one GET
local last = call('GET', LAST)
if last then
  local flight, letters, holders = string.match(last, '^(%d+):([^\n]*)\n(.*)$')
  if flight == ARGV[1] then return { now, letters, holders } end
  if flight and tonumber(flight) > tonumber(ARGV[1]) then return { now, '', '' } end
end

-- Of a wrong type these end the script here.
checklists()
for _, key in ipairs({ JOBS, RUNNING, HISTORY, BLOCKEDON, GHOSTS, META, HOLDERS, HOLDS, LIMITED }) do call('HLEN', key) end
for _, key in ipairs({ SCHEDULED, COMPLETED, CANCELLED, DEAD, HOLDTIMES }) do call('ZCARD', key) end
for at = 9, #ARGV, 9 do
  if ARGV[at] ~= '' then
    call('HLEN', CLASSES)
    for _, key in ipairs({ BLOCKED, SLOTS, RATES, READY }) do call('ZCARD', key) end
    break
  end
end
call('SET', LAST, '', 'PX', MEMORY) -- the first write: a full store refuses it
promote(1000) -- they became due before
local first = tonumber(call('ZRANGE', SCHEDULED, 0, 0, 'WITHSCORES')[2] or math.huge)
local LETTERS = {
  scheduled = 'S', waiting = 'W', blocked = 'B', running = 'R',
  completed = 'C', cancelled = 'X', dead = 'D', [''] = '-',
}
local bulky, news, stored = false, false, false

local function store(id, when, body, lane)
  local level, due = tonumber(string.sub(when, 1, 1)), 0
  local mark, instant = string.match(when, '^.~?([+=])(.*)$')
  if mark == '+' then
    due = now + instant
  elseif mark == '=' then
    due = tonumber(instant)
  end
  local low = now % 4294967296
  call('HSET', JOBS, id, struct.pack('>HI4', level * 8192 + (now - low) / 4294967296, low) .. body)
  bulky, stored = bulky or #body > BULKY, true
  local l = lane ~= '' and lanefrom(level, lane)
  if due > now then
    local score = due * 8 + level
    call('ZADD', SCHEDULED, score, id)
    if l then writelane(id, l) end
    news, first = news or score < first, math.min(first, score)
    return 's'
  end
  if l then enlane(id, l) else call('RPUSH', W[level], id) end
  news = true
  return 'w'
end

local letters, holders, n = {}, {}, 0
for at = 2, #ARGV, 9 do
  local id, when, body, hold, key, time, conflict, limits, lane = unpack(ARGV, at, at + 8)
  local letter, holder, finished, other, state, replaces = nil, '', nil, nil, nil, nil
  if call('HEXISTS', JOBS, id) == 1 then
    local state = stateof(id)
    if FINAL[state] and string.sub(when, 2, 2) == '~' then finished = state else letter = LETTERS[state] end
  end
  if not letter and hold ~= '' then
    other, state, replaces = meet(key, conflict)
    if other then
      if not replaces then letter = LETTERS[state] end
      if other ~= id then holder = other end
    end
  end
  if not letter then
    local list = declared(limits)
    declare(list)
    local refused = refuses(list, other)
    if refused then
      letter, holder = '!', refused
    else
      if other then
        withdraw(other, state)
      elseif finished then
        forget(finished, { id })
      end
      if not other and hold ~= '' then holder = id end
      letter = store(other or id, when, body, lane)
      if hold ~= '' then take(other or id, hold, key, time) end
      enroll(other or id, list)
    end
  end
  n = n + 1
  letters[n], holders[n] = letter, holder
end

expirekeys(100)
if bulky then call('HSET', META, 'bulky', 1) end
if stored then rare() end
if news then ring() end
letters, holders = table.concat(letters), table.concat(holders, '\n')
call('SET', LAST, ARGV[1] .. ':' .. letters .. '\n' .. holders, 'PX', MEMORY)
return { now, letters, holders }
