-- delete_schedule removes a schedule.
--
-- KEYS     schedules schedulenames meta
-- ARGV     name
-- RETURNS  1 removed, 0 there is none
-- COST     O(log schedules)
if redis.call('HEXISTS', SCHEDULES, ARGV[1]) == 0 then return 0 end
redis.call('ZREM', SCHEDULENAMES, ARGV[1])
redis.call('HDEL', SCHEDULES, ARGV[1])
redis.call('HINCRBY', META, 'schedules', 1)
return 1
