-- settle records what became of leased jobs.
--
-- KEYS     jobs waiting scheduled leases running history blocked blockedon completed cancelled dead laneof lanes meta bell holders holds holdtimes limited classes slots rates ready last
-- USES     base
-- ARGV     call, retention, then groups of settlements that have a token and an outcome in common:
--          token, outcome, how many, and for each its id and, unless the outcome is F, its history
--          outcome: a letter and its parameter. F completed and not kept, C keep in ms, R and S delay in ms, L, B key, X, D
--          history: nothing leaves the stored one
-- RETURNS  one letter per settlement: the state afterwards (c s w b x d) or - if stale
-- COST     O(settlements); a call that is repeated costs one GET
local last = call('GET', LAST)
if last then
  local number, answer = string.match(last, '^(%d+):(.*)$')
  if number == ARGV[1] then return answer end
end

local ids, tokens, specs, blobs = {}, {}, {}, {}
local at, count, n = 3, #ARGV, 0
while at < count do
  local token, spec, size = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2])
  local width = spec == 'F' and 1 or 2
  at = at + 3
  for _ = 1, size do
    n = n + 1
    ids[n], tokens[n], specs[n] = ARGV[at], token, spec
    if width == 2 then blobs[n] = ARGV[at + 1] end
    at = at + width
  end
end

local records = fields(RUNNING, ids)
local past = call('HLEN', HISTORY) > 0
local letters, seen, done, forgotten, others = {}, {}, {}, {}, {}
local ended = {} -- those that have finished and may hold a unique key, or have limits or a lane
local stopped, back, unrun = {}, {}, {} -- those with limits that have not finished; that come to the front; that were not run
local mine, mark -- a token and what a record has at TOKENAT if it holds
for i = 1, n do
  local id, record = ids[i], records[i]
  if tokens[i] ~= mine then mine, mark = tokens[i], tokens[i] .. '\0' end
  if not record or seen[id] or string.find(record, mark, TOKENAT, true) ~= TOKENAT then
    letters[i] = '-'
  else
    seen[id] = true
    done[#done + 1] = id
    if specs[i] == 'F' then
      forgotten[#forgotten + 1] = id
      if string.sub(record, TOKENAT - 1, TOKENAT - 1) == '+' then ended[#ended + 1] = id end
      letters[i] = 'c'
    else
      others[#others + 1] = i
    end
  end
end

local apply -- what is left to do for those that are not forgotten
if #others > 0 then
  RETENTION = ARGV[2]
  -- USES clock lanes waiting promote history final bell
  local histories, kept, untils, cancelled, dead = {}, {}, {}, {}, {}
  local scheduled, members, on = {}, {}, {}
  local released, again = lines(), lines()
  local first, failed = math.huge, 0
  local anyreleased, anyagain = false, false
  for _, i in ipairs(others) do
    local id, record, blob = ids[i], records[i], blobs[i]
    local outcome, level = string.sub(specs[i], 1, 1), tonumber(string.sub(record, 2, 2))
    if outcome == 'R' then failed = failed + 1 end
    if string.sub(record, 1, 1) == '1' and (outcome == 'R' or outcome == 'S' or outcome == 'L' or outcome == 'B') then
      outcome = 'X'
    end
    if outcome == 'C' then
      kept[#kept + 1] = id
      untils[#kept] = now + tonumber(string.sub(specs[i], 2))
      letters[i] = 'c'
    elseif outcome == 'R' or outcome == 'S' then
      local delay = tonumber(string.sub(specs[i], 2))
      if delay > 0 then
        local score = (now + delay) * 8 + level
        scheduled[#scheduled + 1] = score
        scheduled[#scheduled + 1] = id
        first = math.min(first, score)
        letters[i] = 's'
      else
        again[level][#again[level] + 1] = id
        anyagain = true
        letters[i] = 'w'
      end
    elseif outcome == 'L' then
      released[level][#released[level] + 1] = id
      anyreleased = true
      letters[i] = 'w'
    elseif outcome == 'B' then
      local key = string.sub(specs[i], 2)
      members[#members + 1] = 0
      members[#members + 1] = key .. '\0' .. (4 - level) .. id
      on[#on + 1] = id
      on[#on + 1] = level .. key
      letters[i] = 'b'
    elseif outcome == 'X' then
      cancelled[#cancelled + 1] = id
      letters[i] = 'x'
    else
      dead[#dead + 1] = id
      letters[i] = 'd'
    end
    if string.sub(record, TOKENAT - 1, TOKENAT - 1) == '+' then
      local list = string.find(letters[i], '[cxd]') and ended or (outcome == 'L' or outcome == 'B') and back or stopped
      list[#list + 1] = id
      if string.find(specs[i], '^[LB]') then unrun[#unrun + 1] = id end
    end
    local progress = progressof(record)
    if blob ~= '' then
      local old = past and call('HGET', HISTORY, id)
      if old and #old > 0 then blob = string.sub(old, 1, 1) .. string.sub(blob, 2) end
      histories[#histories + 1] = id
      histories[#histories + 1] = blob
    elseif progress then
      histories[#histories + 1] = id
      histories[#histories + 1] = withprogress(past and call('HGET', HISTORY, id), progress)
    end
  end

  if anyreleased or anyagain then checklists() end
  if #members > 0 then
    call('ZCARD', BLOCKED)
    call('HLEN', BLOCKEDON)
  end
  local head = math.huge
  if #scheduled > 0 then head = tonumber(call('ZRANGE', SCHEDULED, 0, 0, 'WITHSCORES')[2] or head) end

  apply = function()
    each('HSET', HISTORY, histories)
    for i = 2, #histories, 2 do
      if #histories[i] > BULKY then
        call('HSET', META, 'bulky', 1)
        rare()
        break
      end
    end
    if anyreleased then prepend(released) end
    if anyagain then
      promote(1000)
      append(again)
    end
    each('ZADD', SCHEDULED, scheduled)
    each('ZADD', BLOCKED, members)
    each('HSET', BLOCKEDON, on)
    if #kept > 0 then
      retire('completed', kept, untils)
      trim('completed', 1000 + #kept)
    end
    if #cancelled > 0 then finish('cancelled', cancelled) end
    if #dead > 0 then finish('dead', dead) end
    if #kept > 0 then call('HINCRBY', META, 'completed', #kept) end
    if failed > 0 then call('HINCRBY', META, 'failed', failed) end
    if #cancelled > 0 then call('HINCRBY', META, 'cancelled', #cancelled) end
    if #dead > 0 then call('HINCRBY', META, 'dead', #dead) end
    if #members > 0 or first < head then rare() end
    if anyreleased or anyagain or first < head then ring() end
  end
end

call('HDEL', META, '') -- a first write that a full store allows, after which it allows all
each('ZREM', LEASES, done) -- of a wrong type it ends the script here
each('HDEL', RUNNING, done)
if #forgotten > 0 then
  each('HDEL', JOBS, forgotten)
  if past then each('HDEL', HISTORY, forgotten) end
  call('HINCRBY', META, 'completed', #forgotten)
end
if apply then apply() end
if #ended > 0 or #stopped > 0 or #back > 0 then
  -- USES clock bell keys limits
  letgo(ended)
  if #ended > 0 and call('EXISTS', LANEOF) == 1 then
    local names = {}
    for i = 1, #ended do names[i] = 'j' .. ended[i] end
    each('HDEL', LANEOF, names)
  end
  if call('EXISTS', LIMITED) == 1 then
    -- USES rules refund
    refund(unrun)
    vacate(ended, true)
    vacate(stopped)
    vacate(back, false, true)
  end
end

local answer = table.concat(letters)
call('SET', LAST, ARGV[1] .. ':' .. answer, 'PX', MEMORY)
return answer
