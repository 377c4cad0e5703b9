-- The barest enqueue of many jobs.
--
-- KEYS     jobs waiting
-- ARGV     per job: id, body
local ids = {}
for i = 1, #ARGV, 2 do ids[#ids + 1] = ARGV[i] end
redis.call('HSET', KEYS[1], unpack(ARGV))
return redis.call('RPUSH', KEYS[2], unpack(ids))
