-- enqueue_common is the common path of enqueue: jobs that are new for certain, due
-- at once and of the usual priority.
--
-- KEYS     jobs usual scheduled bell last
-- ARGV     flight and answer (a w per job), then for each job its id and body with header
-- RETURNS  1 stored, now or by this flight before; 0 rare: nothing was done, it is for enqueue;
--          -1 a later flight of this producer was there before
-- COST     O(jobs)
local call = redis.call
local last = call('GET', LAST)
if last and last >= ARGV[1] then return last == ARGV[1] and 1 or -1 end -- all flights have as many digits
local due = call('ZRANGE', SCHEDULED, 0, 0, 'WITHSCORES')[2]
if due then
  local clock = call('TIME')
  if tonumber(due) <= (clock[1] * 1000 + math.floor(clock[2] / 1000)) * 8 + 7 then return 0 end
end

local count = #ARGV
local failed -- of a wrong type the list ends the script here, and the hash below
if count == 3 then
  call('RPUSH', USUAL, ARGV[2])
  failed = redis.pcall('HSET', JOBS, ARGV[2], ARGV[3])
else
  local CHUNK, ids = 2000, {}
  for from = 2, count, CHUNK do
    local to, n = math.min(from + CHUNK - 1, count), 0
    for i = from, to, 2 do
      n = n + 1
      ids[n] = ARGV[i]
    end
    call('RPUSH', USUAL, unpack(ids, 1, n))
  end
  for from = 2, count, CHUNK do
    failed = redis.pcall('HSET', JOBS, unpack(ARGV, from, math.min(from + CHUNK - 1, count)))
    if type(failed) == 'table' then break end
  end
end
if type(failed) == 'table' then
  call('LTRIM', USUAL, 0, -(count + 1) / 2)
  return failed
end
if call('EXISTS', BELL) == 0 then call('RPUSH', BELL, 1) end
call('SET', LAST, ARGV[1], 'PX', MEMORY)
return 1
