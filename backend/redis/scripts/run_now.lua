-- run_now makes scheduled and blocked jobs wait for a worker at once.
--
-- KEYS     jobs waiting scheduled running blocked blockedon completed cancelled dead ghosts laneof lanes meta limited slots ready bell
-- USES     base clock bell lanes waiting promote state ghosts limits turn
-- ARGV     ids
-- RETURNS  one letter per id, of the first ones at least: w waiting, - no such job, else the state that does not allow it
-- COST     O(ids)
local LETTERS = { running = 'R', completed = 'C', cancelled = 'X', dead = 'D' }
checklists()
promote(1000)
local letters, any = {}, false
for i = 1, #ARGV do
  local id, letter = ARGV[i], '-'
  local size = call('HSTRLEN', JOBS, id)
  if not turn(i, size) then break end
  if held(id, size) then
    local state, value = stateof(id)
    letter = LETTERS[state] or 'w'
    if state == 'scheduled' then
      call('ZREM', SCHEDULED, id)
      queueup(levelof(call('HGET', JOBS, id)), id)
      any = true
    elseif state == 'blocked' then
      unblock(id, value)
      local pair = string.match(value, '^%dlimit:([^%z]*)%z')
      if pair then wake(pair) end
      queueup(levelof(call('HGET', JOBS, id)), id)
      any = true
    end
  end
  letters[i] = letter
end
if any then
  call('HSET', META, 'mixed', 1) -- see lib/limits.lua
  rare()
  ring()
end
return table.concat(letters)
