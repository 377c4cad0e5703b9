-- settle records what became of leased jobs.
--
-- KEYS     jobs waiting scheduled leases running history blocked blockedon completed cancelled dead meta bell last
-- USES     base bell waiting promote history final
-- ARGV     call, memory in ms, retention, then per settlement: id, token, outcome, history
--          outcome: a letter and its parameter. F completed and not kept, C keep in ms, R and S delay in ms, L, B key, X, D
--          history: nothing leaves the stored one
-- RETURNS  one letter per settlement: the state afterwards (c s w b x d) or - if stale
-- COST     O(settlements); a call that is repeated costs one GET
local last = call('GET', LAST)
if last then
  local number, answer = string.match(last, '^(%d+):(.*)$')
  if number == ARGV[1] then return answer end
end
RETENTION = ARGV[3]

local ids = {}
for i = 4, #ARGV, 4 do ids[#ids + 1] = ARGV[i] end
local records = fields(RUNNING, ids)
local past = call('HLEN', HISTORY) > 0
local mine, mark -- a token and what a record has at TOKENAT if it holds

local letters, seen = {}, {}
local done, forgotten, histories = {}, {}, {}
local kept, untils = {}, {}
local cancelled, dead = {}, {}
local scheduled, members, on = {}, {}, {}
local released, again = lines(), lines()
local first, failed = math.huge, 0
local anyreleased, anyagain = false, false
local find = string.find

for i, id in ipairs(ids) do
  local token, record = ARGV[4 * i + 1], records[i]
  if token ~= mine then mine, mark = token, token .. '\0' end
  local n = #done
  if not record or seen[id] or find(record, mark, TOKENAT, true) ~= TOKENAT then
    letters[i] = '-'
  elseif ARGV[4 * i + 2] == 'F' then
    seen[id] = true
    done[n + 1] = id
    forgotten[#forgotten + 1] = id
    letters[i] = 'c'
  else
    seen[id] = true
    done[n + 1] = id
    local spec, blob = ARGV[4 * i + 2], ARGV[4 * i + 3]
    local outcome, level = string.sub(spec, 1, 1), tonumber(string.sub(record, 2, 2))
    if outcome == 'R' then failed = failed + 1 end
    if string.sub(record, 1, 1) == '1' and (outcome == 'R' or outcome == 'S' or outcome == 'L' or outcome == 'B') then
      outcome = 'X'
    end
    if outcome == 'C' then
      kept[#kept + 1] = id
      untils[#kept] = now + tonumber(string.sub(spec, 2))
      letters[i] = 'c'
    elseif outcome == 'R' or outcome == 'S' then
      local delay = tonumber(string.sub(spec, 2))
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
      local key = string.sub(spec, 2)
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
end

if anyreleased or anyagain then checklists() end
if #members > 0 then
  call('ZCARD', BLOCKED)
  call('HLEN', BLOCKEDON)
end
local head = math.huge
if #scheduled > 0 then head = tonumber(call('ZRANGE', SCHEDULED, 0, 0, 'WITHSCORES')[2] or head) end
if anyreleased or anyagain or first < head then checkbell() end
call('HGET', META, 'paused')

each('ZREM', LEASES, done) -- the first write: of a wrong type it ends the script here
each('HDEL', RUNNING, done)
each('HDEL', JOBS, forgotten)
if past then each('HDEL', HISTORY, forgotten) end
each('HSET', HISTORY, histories)
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
local completions = #forgotten + #kept
if completions > 0 then call('HINCRBY', META, 'completed', completions) end
if failed > 0 then call('HINCRBY', META, 'failed', failed) end
if #cancelled > 0 then call('HINCRBY', META, 'cancelled', #cancelled) end
if #dead > 0 then call('HINCRBY', META, 'dead', #dead) end
if anyreleased or anyagain or first < head then ring() end

local answer = table.concat(letters)
call('SET', LAST, ARGV[1] .. ':' .. answer, 'PX', ARGV[2])
return answer
