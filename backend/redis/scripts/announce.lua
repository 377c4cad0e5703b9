-- announce publishes a worker's record and forgets those that are overdue. It answers
-- the mark of the store, which is made anew when the store has lost it.
--
-- KEYS     workers expire mark
-- USES     base clock
-- ARGV     worker, ttl in ms, record, a new mark
-- RETURNS  the mark
-- COST     O(log workers), and O(overdue), at most 100
local old = call('ZRANGEBYSCORE', EXPIRE, '-inf', now, 'LIMIT', 0, 100)
call('HLEN', WORKERS)
each('ZREM', EXPIRE, old)
each('HDEL', WORKERS, old)
call('HSET', WORKERS, ARGV[1], string.format('%.0f', now) .. ':' .. ARGV[3])
call('ZADD', EXPIRE, now + ARGV[2], ARGV[1])
call('SET', MARK, ARGV[4], 'NX')
return call('GET', MARK)
