-- settle_common is the common path of settle: jobs that have completed and are not
-- kept.
--
-- KEYS     jobs leases running history meta last
-- ARGV     call, tokens and how many jobs each is of (each followed by a NUL), then the ids
-- RETURNS  one letter per job, as settle does; 0 rare: nothing was done, it is for settle
-- COST     O(jobs)
local call = redis.call
local last = call('GET', LAST)
if last then
  local number, answer = string.match(last, '^(%d+):(.*)$')
  if number == ARGV[1] then return answer end
end
local CHUNK, count = 1000, #ARGV
local records
if count - 2 <= CHUNK then
  records = call('HMGET', RUNNING, unpack(ARGV, 3))
else
  records = {}
  for from = 3, count, CHUNK do
    local some = call('HMGET', RUNNING, unpack(ARGV, from, math.min(from + CHUNK - 1, count)))
    for i = 1, #some do records[from + i - 3] = some[i] end
  end
end
local i = 0
for mark, n in string.gmatch(ARGV[2], '([^%z]+%z)(%d+)%z') do
  mark = '-' .. mark -- a plus is for settle, see lib/keys.lua
  for _ = 1, tonumber(n) do
    i = i + 1
    local record = records[i]
    if not record or string.find(record, mark, 40, true) ~= 40 then return 0 end -- see TOKENAT
  end
end

call('HDEL', META, '') -- a first write that a full store allows, after which it allows all
local past, done = call('HLEN', HISTORY) > 0, 0
for from = 3, count, CHUNK do
  local to = math.min(from + CHUNK - 1, count)
  call('ZREM', LEASES, unpack(ARGV, from, to)) -- of a wrong type it ends the script here
  done = done + call('HDEL', RUNNING, unpack(ARGV, from, to))
  call('HDEL', JOBS, unpack(ARGV, from, to))
  if past then call('HDEL', HISTORY, unpack(ARGV, from, to)) end
end
call('HINCRBY', META, 'completed', done)
local answer
if done == count - 2 then
  answer = string.rep('c', done)
else
  local letters, seen = {}, {} -- an id that came twice was there once
  for j = 3, count do
    letters[j - 2] = seen[ARGV[j]] and '-' or 'c'
    seen[ARGV[j]] = true
  end
  answer = table.concat(letters)
end
call('SET', LAST, ARGV[1] .. ':' .. answer, 'PX', MEMORY)
return answer
