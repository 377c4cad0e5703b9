-- cancel ends a job whose body is stored, or marks it if it runs. It answers a letter: x
-- cancelled now, X was so before, R marked, C D in another final state.
local FINALLETTER = { cancelled = 'X', completed = 'C', dead = 'D' }
local function cancel(id)
  local state, value = stateof(id)
  if FINALLETTER[state] then return FINALLETTER[state] end
  if state == 'running' then
    if string.sub(value, 1, 1) ~= '1' then
      call('HSET', RUNNING, id, '1' .. string.sub(value, 2))
    end
    return 'R'
  end
  if state == 'scheduled' then
    call('ZREM', SCHEDULED, id)
    rare()
  elseif state == 'blocked' then
    unblock(id, value)
  elseif not leave(id) then
    haunt(levelof(call('HGET', JOBS, id)), id)
  end
  retire('cancelled', { id }, { now + policy('cancelled').age })
  call('HINCRBY', META, 'cancelled', 1)
  letgo({ id })
  vacate({ id }, true)
  forgetlanes({ id })
  trim('cancelled', 1001)
  return 'x'
end
