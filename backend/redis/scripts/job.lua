-- job reads jobs by id.
--
-- KEYS     jobs waiting scheduled leases running history blockedon completed cancelled dead bell
-- USES     base clock bell waiting promote state describe
-- ARGV     ids
-- RETURNS  per id: id, state, number, record, body, history
-- COST     O(ids)
if promote(1000) > 0 then ring() end
local ids = {}
for i = 1, #ARGV do ids[i] = ARGV[i] end
return describe(ids)
