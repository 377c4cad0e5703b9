-- job reads a job.
--
-- KEYS     jobs waiting scheduled leases running history blockedon completed cancelled dead laneof lanes meta bell
-- USES     base clock bell lanes waiting promote state describe
-- ARGV     id
-- RETURNS  id, state, number, record, body, history
-- COST     O(1)
if promote(1000) > 0 then ring() end
return (describe({ ARGV[1] }, 0, true))
