-- lease hands out waiting jobs to one worker, after it has returned expired
-- leases and moved due jobs.
--
-- KEYS     jobs waiting scheduled leases running history blocked blockedon completed cancelled dead ghosts laneof lanes meta bell holders holds holdtimes limited classes slots rates ready last
-- USES     base clock paused
-- ARGV     token, process, number, part, max, duration in ms, retention, blocked keys to list,
--          count ("1": say exactly how many are left), how many of max are leased ahead, proof (see grace), then the keys
--          to unblock
-- RETURNS  now, next due (0 for none), left, paused, kind, ids dropped, expiry, blocked keys, ids, bodies, histories,
--          whether the next lease may take the common path, how many leases were taken back
--          kind: 0 new, 1 repeated, 2 overtaken
--
-- A call that repeats the last one's token with a part that is not higher takes
-- nothing, renews and answers what is still held under the token. With a higher part it
-- takes more under the same token. A call that comes after one of a higher number of the
-- same process is overtaken: nobody waits for its answer any more, so it takes nothing.
--
-- COST     O(jobs handed out) and, bounded by 1000 each, O(expired + due); of jobs with limits or lanes it looks at 500 at most
local token, process, number, part = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local max, duration = tonumber(ARGV[5]), tonumber(ARGV[6])
RETENTION = ARGV[7]

local meta = call('HMGET', META, 'paused', 'beat', 'grace', 'ghosts', 'common', 'bulky', 'virtual')
local paused, ghosts = pausedfrom(meta[1]), tonumber(meta[4] or 0)
local last = call('GET', LAST)
local head = call('ZRANGE', LEASES, 0, 0, 'WITHSCORES')[2]
local due = call('ZRANGE', SCHEDULED, 0, 0, 'WITHSCORES')[2]
local expires = now + duration
local repeated, overtaken, given = false, false, '' -- given: the ids of before, a line each
if last then
  local before, by, n, parts, lines = string.match(last, '^([^\n]*)\n([^\n]*)\n(%d+)\n(%d+)\n?(.*)$')
  if before == token then
    repeated, given = part <= tonumber(parts), lines
  elseif by == process then
    overtaken = tonumber(n) > tonumber(number)
  end
end

local reclaimed = 0
local ids, levels, more, unfinished, moreblocked = {}, {}, false, false, false
local want = (repeated or overtaken) and 0 or max
local reported -- the progress of jobs that are handed out once more
local grace = 0
call('HDEL', RUNNING, '') -- of a wrong type it ends the script here; and as a full store allows it, it allows all that follows
if meta[1] and not paused then call('HDEL', META, 'paused') end

if repeated then
  -- USES history
  local names = {}
  reported = {}
  for id in string.gmatch(given, '[^\n]+') do names[#names + 1] = id end
  for i, record in ipairs(fields(RUNNING, names)) do
    if record and string.sub(record, TOKENAT, TOKENAT + #token) == token .. '\0' then
      ids[#ids + 1] = names[i]
      reported[names[i]] = progressof(record) or ''
    end
  end
  grace = tonumber(meta[3] or 0)
elseif head then
  -- USES grace
  local stale, changed
  grace, stale, changed = graceof(meta[2], meta[3], duration, ARGV[11])
  if tonumber(head) <= now and grace <= now then
    -- USES lanes waiting history final bell keys limits reclaim
    local n, full = reclaim(1000)
    reclaimed = n
    unfinished = full
    head = call('ZRANGE', LEASES, 0, 0, 'WITHSCORES')[2]
  end
  if stale then leavebeat(grace, changed) end
elseif now - tonumber(meta[2] or 0) > 500 then
  call('HSET', META, 'beat', now)
end

if due and tonumber(due) <= now * 8 + 7 then
  -- USES lanes waiting promote
  if promote(1000) == 1000 then unfinished = true end
  due = call('ZRANGE', SCHEDULED, 0, 0, 'WITHSCORES')[2]
end

-- Mostly there is nothing but jobs of the usual priority.
local unusual = call('EXISTS', W[0], W[1], W[3], W[4], BLOCKED, HISTORY, HOLDS, LIMITED, LANEOF, LANES) > 0
local anyblocked = unusual and call('ZCARD', BLOCKED) > 0 and call('HLEN', BLOCKEDON) > 0
local asked, before = want, #ids
local taken, spent, gone = {}, {}, 0 -- entries to cut off per level; ghosts among them
local members, freed -- of blocked jobs that are handed out
-- Jobs with limits: whether there are some, which ones are handed out, how many were looked
-- at, and whether one was left as it is not to be leased ahead.
local anylimited = unusual and not paused and call('EXISTS', LIMITED) == 1
local limited, counted, tried, heldback = anylimited and want > 0, {}, 0, false
local begun = asked - tonumber(ARGV[10])
-- What is handed out may have 4 MiB, or one job.
local bulky, room = meta[6], 4194304
local function sized(id) return call('HSTRLEN', JOBS, id) + call('HSTRLEN', HISTORY, id) end
local function fits(id)
  if bulky then room = room - sized(id) end
  return room >= 0 or #ids == 0
end
local function unfit(id)
  if bulky then room = room + sized(id) end
end
local stops, try, serve, parked
if limited then
  -- USES lanes waiting bell keys limits rules admit serve
  parked = park
end
-- Jobs with lanes: whether there are some, and who is next.
local laned = unusual and not paused and call('EXISTS', LANEOF, LANES) > 0
local fair, hadturn, endturns
if laned and want > 0 then
  -- USES lanes turns
end
if not paused then
  if anyblocked and #ARGV > 11 then
    members, freed = {}, {}
    for i = 12, #ARGV do
      local key = ARGV[i]
      local found = call('ZRANGEBYLEX', BLOCKED, '[' .. key .. '\0', '(' .. key .. '\1', 'LIMIT', 0, want + 1)
      if #found > want then
        moreblocked = true
        found[#found] = nil
      end
      for _, member in ipairs(found) do
        local id, level = string.sub(member, #key + 3), 4 - tonumber(string.sub(member, #key + 2, #key + 2))
        local record = limited and call('HGET', LIMITED, id)
        if not fits(id) or record and stops() then
          moreblocked = not heldback
          break
        end
        local pair, at, number, list
        if record then pair, at, number, list = try(id, level, record, true) end
        if pair then
          call('ZREM', BLOCKED, member)
          parked(id, level, number, list, pair, at)
        else
          want = want - 1
          ids[#ids + 1] = id
          levels[#ids] = level
          members[#members + 1] = member
          freed[#freed + 1] = id
        end
      end
    end
  end

  local looked, full = 0, room < 0
  more = full
  for level = unusual and 4 or 2, unusual and 0 or 2, -1 do
    local offset = 0
    full = full or limited and serve(level)
    want = asked - (#ids - before)
    while not full do
      local most, had = want, #ids
      if fair then
        most, had = fair(level, offset), #ids
        if not most then
          full = true
          break
        end
      end
      local page = call('LRANGE', W[level], offset, offset + most)
      local n = math.min(#page, most)
      if n > 0 and (bulky or limited or ghosts > gone) then
        local names = {}
        if ghosts > gone then
          for i = 1, n do names[i] = level .. page[i] end
        end
        local spooks, records = fields(GHOSTS, names), limited and fields(LIMITED, page)
        for i = 1, n do
          local name, id, record = names[i], page[i], limited and records[i]
          local pair, at, number, list
          if spooks[i] and tonumber(spooks[i]) > (spent[name] or 0) then
            spent[name], gone = (spent[name] or 0) + 1, gone + 1
          elseif bulky and not fits(id) then
            n, full, more = i - 1, true, true
            break
          elseif record and stops() then
            n, full = i - 1, true
            break
          else
            if record then pair, at, number, list = try(id, level, record) end
            if pair then
              parked(id, level, number, list, pair, at)
            else
              ids[#ids + 1] = id
              levels[#ids] = level
            end
          end
        end
      else
        local have = #ids
        for i = 1, n do ids[have + i], levels[have + i] = page[i], level end
      end
      offset, looked = offset + n, looked + n
      want = asked - (#ids - before)
      local lane = fair and hadturn(level, n, #ids - had)
      if full or #page <= n and not lane then break end
      if want == 0 or looked > 20000 then full, more = true, true end
    end
    if offset > 0 then taken[level] = offset end
    if full then break end
  end
  if fair then endturns(not full) end
  if laned and not heldback then more = more or #call('ZRANGEBYLEX', LANES, '[w', '(x', 'LIMIT', 0, 1) > 0 end
end

local bodies, dropped = fields(JOBS, ids), 0
for i = 1, #ids do
  if not bodies[i] then dropped = dropped + 1 end
end
if dropped > 0 then
  local present, there, kept, vanished = {}, {}, {}, {}
  for i = 1, #ids do
    if bodies[i] then
      present[#present + 1], there[#there + 1] = ids[i], bodies[i]
      kept[#present] = levels[i]
    else
      vanished[#vanished + 1] = ids[i]
    end
  end
  ids, bodies, levels = present, there, kept
  -- USES keys
  letgo(vanished, true)
  if limited then
    -- USES bell limits
    vacate(vanished, true)
  end
  if laned then
    -- USES lanes
    forgetlanes(vanished)
  end
end
local past = unusual and #ids > 0 and call('HLEN', HISTORY) > 0 and fields(HISTORY, ids) or {}
for i = 1, #past do past[i] = past[i] or '' end
if reported then
  -- USES history
  for i, id in ipairs(ids) do
    past[i] = past[i] or ''
    if reported[id] ~= '' then past[i] = withprogress(past[i], reported[id]) end
  end
end

if members then
  each('ZREM', BLOCKED, members)
  each('HDEL', BLOCKEDON, freed)
end
for level, n in pairs(taken) do call('LTRIM', W[level], n, -1) end
if gone > 0 then
  for name, n in pairs(spent) do
    if call('HINCRBY', GHOSTS, name, -n) <= 0 then call('HDEL', GHOSTS, name) end
  end
  call('HINCRBY', META, 'ghosts', -gone)
end
if #ids > 0 then
  local leases, score = {}, string.format('%d', expires)
  for i, id in ipairs(ids) do leases[2 * i - 1], leases[2 * i] = score, id end
  each('ZADD', LEASES, leases) -- those of a repeated call begin anew, as the answer may have been on its way for long
  if not repeated then
    local records, record, begun = {}, {}, asked - tonumber(ARGV[10])
    for i, id in ipairs(ids) do
      local level = levels[i]
      if i == begun + 1 then record = {} end
      local text = record[level]
      if not text then
        text = (i > begun and '2' or '0') .. level .. FILLER .. token .. '\0'
        record[level] = text
      end
      records[2 * i - 1], records[2 * i] = id, text
    end
    if unusual and call('EXISTS', HOLDS) == 1 then
      -- USES keys
      local started = {}
      for i, hold in ipairs(fields(HOLDS, ids)) do
        local letter = hold and string.sub(hold, 1, 1)
        if letter == 's' then
          started[#started + 1] = ids[i]
        elseif letter then
          records[2 * i] = string.sub(records[2 * i], 1, TOKENAT - 2) .. '+' .. string.sub(records[2 * i], TOKENAT)
          if string.find(letter, '%l') then call('HSET', HOLDS, ids[i], string.upper(letter) .. string.sub(hold, 2)) end
        end
      end
      letgo(started)
    end
    if laned then
      local names = {}
      for i, id in ipairs(ids) do names[i] = 'j' .. id end
      for i, lane in ipairs(fields(LANEOF, names)) do counted[ids[i]] = counted[ids[i]] or lane end
    end
    for i, id in ipairs(ids) do
      if counted[id] then records[2 * i] = string.sub(records[2 * i], 1, TOKENAT - 2) .. '+' .. string.sub(records[2 * i], TOKENAT) end
    end
    each('HSET', RUNNING, records)
    if not head then head = expires end
  end
end
if not repeated and not overtaken then
  if given ~= '' then given = given .. '\n' end
  local memory = token .. '\n' .. process .. '\n' .. number .. '\n' .. part .. '\n'
  call('SET', LAST, memory .. given .. table.concat(ids, '\n'), 'PX', MEMORY)
end

local left = 0
if more and not paused then
  left = 1
  if ghosts > gone or room < 0 or ARGV[9] == '1' then
    left = gone - ghosts
    for level = 0, 4 do left = left + call('LLEN', W[level]) end
    left = left + call('ZLEXCOUNT', LANES, '[j', '(k')
  end
end
if not paused and unfinished then left = math.max(1, left) end

local ready = anylimited and call('ZRANGE', READY, 0, 0, 'WITHSCORES')[2]
ready = ready and tonumber(ready)
if ready and ready <= now and not heldback then left = math.max(1, left) end

if left > 0 or heldback or (due and asked > 0 and want == 0) then
  -- USES bell
  ring()
else
  call('DEL', BELL)
end
if moreblocked then left = math.max(1, left) end

local soon = 0
if due then soon = math.floor(due / 8) end
if paused and paused ~= '1' and (soon == 0 or tonumber(paused) < soon) then soon = tonumber(paused) end
if ready and ready > now and (soon == 0 or ready < soon) then soon = ready end
if head then
  local reclaims = math.max(tonumber(head), grace)
  if soon == 0 or reclaims < soon then soon = reclaims end
end
local keys = {}
if anyblocked then
  -- USES blockedkeys
  keys = blockedkeys(tonumber(ARGV[8]))
end
if bulky and call('HLEN', JOBS) == 0 then bulky = call('HDEL', META, 'bulky') == 0 end
if not paused and meta[7] and not laned then call('HDEL', META, 'virtual') end
local common = not paused and not unfinished and not bulky and ghosts <= gone
if common and unusual then
  if call('EXISTS', LANEOF, LANES) > 0 then
    common = false
  elseif call('EXISTS', LIMITED) == 1 then -- see lib/limits.lua
    local mixed = call('HEXISTS', META, 'mixed') == 1
    if mixed and call('EXISTS', W[0], W[1], W[2], W[3], W[4]) == 0 then mixed = call('HDEL', META, 'mixed') == 0 end
    common = not mixed and call('EXISTS', W[0], W[1], W[3], W[4], HOLDS) == 0 and (not ready or ready > now)
      and (not anyblocked or call('ZCARD', BLOCKED) == call('ZLEXCOUNT', BLOCKED, '[limit:', '(limit;'))
  else
    common = call('EXISTS', W[0], W[1], W[3], W[4], BLOCKED, HOLDS) == 0
  end
end
if common then
  local head, limit = 0, now + 60000 -- it is found out anew now and then, whatever happens
  if due then head = math.floor(due / 8) end
  if ready and (head == 0 or ready < head) then head = ready end
  if head > 0 then limit = math.min(limit, head) end
  call('HSET', META, 'common', limit, 'due', head)
  if fair then call('HDEL', META, 'virtual') end
elseif meta[5] then
  call('HDEL', META, 'common')
end
return { now, soon, left, paused and 1 or 0, repeated and 1 or (overtaken and 2 or 0), dropped, expires, keys, ids, bodies, past, common and 1 or 0, reclaimed }
