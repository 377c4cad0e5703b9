-- pause stops the hand-out of a queue's jobs.
--
-- KEYS     meta bell
-- USES     base clock bell
-- ARGV     for how long in ms, 0 for good
-- RETURNS  nothing
-- COST     O(1)
local duration = tonumber(ARGV[1])
call('HSET', META, 'paused', duration > 0 and string.format('%d', now + duration) or '1')
call('HDEL', META, 'common')
call('DEL', BELL)
if duration > 0 then ring() end -- who leases now knows when to come again
