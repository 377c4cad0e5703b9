-- cancel ends jobs that are not running, and marks those that are.
--
-- KEYS     jobs waiting scheduled running history blocked blockedon completed cancelled dead ghosts laneof lanes meta holders holds holdtimes limited slots ready bell
-- USES     base clock bell lanes waiting final state ghosts keys limits cancel turn
-- ARGV     retention, then ids
-- RETURNS  one letter per id, of the first ones at least: x cancelled now, X was so before, R marked, - no such job,
--          C D in another final state
-- COST     O(ids)
RETENTION = ARGV[1]
local letters = {}
for i = 2, #ARGV do
  local size = call('HSTRLEN', JOBS, ARGV[i])
  if not turn(i - 1, size) then break end
  letters[i - 1] = held(ARGV[i], size) and cancel(ARGV[i]) or '-'
end
return table.concat(letters)
