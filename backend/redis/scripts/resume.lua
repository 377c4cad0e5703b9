-- resume undoes pause and wakes a worker if there is anything to do.
--
-- KEYS     waiting scheduled ready lanes meta bell
-- ARGV     none
-- RETURNS  nothing
-- COST     O(1)
redis.call('HDEL', META, 'paused')
local any = redis.call('EXISTS', SCHEDULED, READY, LANES) > 0
for level = 0, 4 do any = any or redis.call('LLEN', W[level]) > 0 end
if any and redis.call('LLEN', BELL) == 0 then redis.call('RPUSH', BELL, 1) end
