-- ring wakes a worker if jobs wait that could be leased, or will be due.
--
-- KEYS     waiting scheduled ready lanes meta bell
-- ARGV     none
-- RETURNS  nothing
-- COST     O(1)
if redis.call('HGET', META, 'paused') == '1' then return end -- where a pause has an end, somebody is to know of it
local any = redis.call('EXISTS', SCHEDULED, READY, LANES) > 0
for level = 0, 4 do any = any or redis.call('LLEN', W[level]) > 0 end
if any and redis.call('LLEN', BELL) == 0 then redis.call('RPUSH', BELL, 1) end
