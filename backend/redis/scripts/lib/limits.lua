-- limits: what jobs count against. LIMITED has, of each job with limits that has not
-- finished, the number under which it is parked (0 if it was not since its last lease), and a
-- line for each limit: its hold (r while it runs, f until finished, e once enqueued), cost,
-- what the bucket became by its lease (0 if nothing was spent), and the pair of class and key;
-- and the filler of a record of a running job.
-- CLASSES has the rules of a class in two lines: what the programs say, and what was set.
-- SLOTS has "pair\0id" of all jobs with a slot, RATES the pairs whose buckets are not full, by
-- when they are. READY has the pairs with parked jobs of which the first is to be looked at,
-- by when in ms, and "class\npair" where all those of a class after this pair are. Other times
-- are in microseconds; the record of a running job with limits has a plus before its token.
--
-- The common path of lease may be open beside parked and running ones, but not while a job with
-- limits may be in a list of waiting ones, which 'mixed' in META says, or a pair is to be looked
-- at. What brings that about says so and closes it; a lease that leaves nothing waiting takes
-- 'mixed' back.
local micro = clock[1] * 1000000 + clock[2]

-- limitsof reads a record: its number and a list.
local function limitsof(record)
  local list = {}
  for hold, cost, spent, pair in string.gmatch(record, '\n(%l)(%d+) (%d+) ([^\n]*)') do
    list[#list + 1] = { hold = hold, cost = tonumber(cost), spent = spent, pair = pair }
  end
  return string.match(record, '^%d+'), list
end

local function writelimits(id, number, list)
  local lines = { number }
  for i, l in ipairs(list) do lines[i + 1] = l.hold .. l.cost .. ' ' .. l.spent .. ' ' .. l.pair end
  lines[#lines + 1] = FILLER -- a lease looks for many
  call('HSET', LIMITED, id, table.concat(lines, '\n'))
end

-- firstof is the first of the jobs that are parked at a pair: of the highest priority the one
-- that was parked first.
local function firstof(pair)
  local key = 'limit:' .. pair
  local member = call('ZRANGEBYLEX', BLOCKED, '[' .. key .. '\0', '(' .. key .. '\1', 'LIMIT', 0, 1)[1]
  if not member then return end
  local tail = string.sub(member, #key + 2)
  return { member = member, rank = tonumber(string.sub(tail, 1, 16)), level = 4 - tonumber(string.sub(tail, 1, 1)), id = string.sub(tail, 17) }
end

-- wake has the first of a pair be looked at by the next lease.
local function wake(pair)
  if firstof(pair) then
    call('ZADD', READY, 'LT', now, pair)
    call('HDEL', META, 'common')
    ring()
  else
    call('ZREM', READY, pair)
  end
end

-- FOREMOST is the number of a job that comes back to the front: it precedes all that are parked.
local FOREMOST = string.rep('0', 15)

-- vacate frees the slots of jobs that do not run any more; of those that are over all. Those
-- that come back to the front precede what is parked.
local function vacate(ids, over, front)
  if #ids == 0 or call('EXISTS', LIMITED) == 0 then return end
  for i, record in ipairs(fields(LIMITED, ids)) do
    if record then
      local _, list = limitsof(record)
      if front then writelimits(ids[i], FOREMOST, list) end
      if not over then
        call('HSET', META, 'mixed', 1)
        call('HDEL', META, 'common')
      end
      for _, l in ipairs(list) do
        if over or l.hold == 'r' then
          call('ZREM', SLOTS, l.pair .. '\0' .. ids[i])
          wake(l.pair)
        end
      end
      if over then call('HDEL', LIMITED, ids[i]) end
    end
  end
end
