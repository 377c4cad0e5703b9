-- The barest lease of many jobs that loses none: each is held until an instant,
-- by the store's clock, under a token.
--
-- KEYS     jobs waiting leases running
-- ARGV     token, max, lease in ms
-- RETURNS  the ids, then the bodies
local ids = redis.call('LPOP', KEYS[2], ARGV[2])
if not ids then return {} end
local clock = redis.call('TIME')
local expires = clock[1] * 1000 + math.floor(clock[2] / 1000) + ARGV[3]
local leases, records = {}, {}
for i = 1, #ids do
  leases[2 * i - 1], leases[2 * i] = expires, ids[i]
  records[2 * i - 1], records[2 * i] = ids[i], ARGV[1]
end
redis.call('ZADD', KEYS[3], unpack(leases))
redis.call('HSET', KEYS[4], unpack(records))
return { ids, redis.call('HMGET', KEYS[1], unpack(ids)) }
