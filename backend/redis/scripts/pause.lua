-- pause stops the hand-out of a queue's jobs.
--
-- KEYS     meta bell
-- ARGV     none
-- RETURNS  nothing
-- COST     O(1)
redis.call('HSET', META, 'paused', 1)
redis.call('HDEL', META, 'common')
redis.call('DEL', BELL)
