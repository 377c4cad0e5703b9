-- workers lists the records of the workers that are not overdue.
--
-- KEYS     workers expire
-- USES     base clock
-- ARGV     none
-- RETURNS  ids and records in turn
-- COST     O(workers)
local old = call('ZRANGEBYSCORE', EXPIRE, '-inf', now, 'LIMIT', 0, 1000)
call('HLEN', WORKERS)
each('ZREM', EXPIRE, old)
each('HDEL', WORKERS, old)
return call('HGETALL', WORKERS)
