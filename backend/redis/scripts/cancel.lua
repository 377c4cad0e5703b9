-- cancel ends jobs that are not running, and marks those that are.
--
-- KEYS     jobs waiting scheduled leases running history blocked blockedon completed cancelled dead ghosts meta
-- USES     base clock waiting final state ghosts cancel
-- ARGV     retention, then ids
-- RETURNS  one letter per id: x cancelled now, X was so before, R marked, - no such job, C D in another final state
-- COST     O(ids)
RETENTION = ARGV[1]
local letters = {}
for i = 2, #ARGV do
  letters[i - 1] = call('HEXISTS', JOBS, ARGV[i]) == 1 and cancel(ARGV[i]) or '-'
end
return table.concat(letters)
