-- cancel ends jobs that are not running, and marks those that are.
--
-- KEYS     jobs waiting scheduled leases running history blocked blockedon completed cancelled dead ghosts meta
-- USES     base clock waiting final state ghosts turn
-- ARGV     retention, then ids
-- RETURNS  one letter per id, of the first ones at least: x cancelled now, X was so before, R marked, - no such job, C D in another final state
-- COST     O(ids)
RETENTION = ARGV[1]
local letters, ended = {}, {}
for i = 2, #ARGV do
  local id, letter = ARGV[i], '-'
  local size = call('HSTRLEN', JOBS, id)
  if not turn(i - 1, size) then break end
  if size > 0 then
    local state, value = stateof(id)
    letter = 'x'
    if state == 'running' then
      letter = 'R'
      if string.sub(value, 1, 1) ~= '1' then
        call('HSET', RUNNING, id, '1' .. string.sub(value, 2))
      end
    elseif state == 'cancelled' then
      letter = 'X'
    elseif state == 'completed' then
      letter = 'C'
    elseif state == 'dead' then
      letter = 'D'
    elseif state == 'scheduled' then
      call('ZREM', SCHEDULED, id)
      rare()
    elseif state == 'blocked' then
      unblock(id, value)
    else
      haunt(levelof(call('HGET', JOBS, id)), id)
    end
    if letter == 'x' then
      retire('cancelled', { id }, { now + policy('cancelled').age })
      ended[#ended + 1] = id
    end
  end
  letters[#letters + 1] = letter
end
if #ended > 0 then
  call('HINCRBY', META, 'cancelled', #ended)
  trim('cancelled', 1000 + #ended)
end
return table.concat(letters)
