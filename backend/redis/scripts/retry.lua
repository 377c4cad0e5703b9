-- retry makes dead and cancelled jobs wait again, with attempts and crashes at 0.
--
-- KEYS     jobs waiting scheduled running history blocked blockedon completed cancelled dead laneof lanes meta limited classes slots rates ready bell
-- USES     base clock bell lanes waiting promote history final state limits rules enroll bodyfield turn
-- ARGV     ids
-- RETURNS  one letter per id, of the first ones at least: w waiting now, - no such job, else the state that does not allow it
-- COST     O(ids)
local LETTERS = { running = 'R', scheduled = 'S', blocked = 'B', completed = 'C', waiting = 'W' }
checklists()
promote(1000)
local letters, line, any = {}, lines(), false
for i = 1, #ARGV do
  local id, letter = ARGV[i], '-'
  local size = call('HSTRLEN', JOBS, id)
  if not turn(i, size + call('HSTRLEN', HISTORY, id)) then break end
  if held(id, size) then
    local state = stateof(id)
    letter = LETTERS[state] or 'w'
    if letter == 'w' then
      unretire(state, { id })
      local blob = call('HGET', HISTORY, id)
      if blob then
        blob = string.rep('\0', 5) .. string.sub(sane(blob), 6)
        if blob == NOHISTORY then call('HDEL', HISTORY, id) else call('HSET', HISTORY, id, blob) end
      end
      local body = call('HGET', JOBS, id)
      enroll(id, declared(bodyfield(body, LIMITSTAG)))
      local level, lane = levelof(body), bodyfield(body, LANETAG)
      if lane ~= '' then enlane(id, lanefrom(level, lane)) else call('RPUSH', W[level], id) end
      any = true
    end
  end
  letters[i] = letter
end
if any then
  rare()
  ring()
end
return table.concat(letters)
