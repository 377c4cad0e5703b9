-- The barest settlement of many jobs: those that are still held under the token
-- are forgotten.
--
-- KEYS     jobs leases running
-- ARGV     token, ids
-- RETURNS  how many there were
local ids = {}
for i = 2, #ARGV do ids[i - 1] = ARGV[i] end
local tokens = redis.call('HMGET', KEYS[3], unpack(ids))
local mine = {}
for i = 1, #ids do
  if tokens[i] == ARGV[1] then mine[#mine + 1] = ids[i] end
end
if #mine == 0 then return 0 end
redis.call('ZREM', KEYS[2], unpack(mine))
redis.call('HDEL', KEYS[3], unpack(mine))
redis.call('HDEL', KEYS[1], unpack(mine))
return #mine
