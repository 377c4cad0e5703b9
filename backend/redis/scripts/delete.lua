-- delete removes jobs that are not running.
--
-- KEYS     jobs waiting scheduled running history blocked blockedon completed cancelled dead ghosts laneof lanes meta holders holds holdtimes limited slots ready bell
-- USES     base clock bell lanes waiting final state ghosts keys limits turn
-- ARGV     ids
-- RETURNS  one letter per id, of the first ones at least: x deleted, R running, - no such job
-- COST     O(ids)
local letters = {}
for i = 1, #ARGV do
  local id, letter = ARGV[i], '-'
  local size = call('HSTRLEN', JOBS, id)
  if not turn(i, size) then break end
  if held(id, size) then
    local state, value = stateof(id)
    letter = 'x'
    if state == 'running' then
      letter = 'R'
    elseif FINAL[state] then
      forget(state, { id })
    else
      if state == 'scheduled' then
        call('ZREM', SCHEDULED, id)
        rare()
      elseif state == 'blocked' then
        unblock(id, value)
      elseif not leave(id) then
        haunt(levelof(call('HGET', JOBS, id)), id)
      end
      call('HDEL', JOBS, id)
      call('HDEL', HISTORY, id)
      letgo({ id }, true)
      vacate({ id }, true)
      forgetlanes({ id })
    end
  end
  letters[i] = letter
end
return table.concat(letters)
