-- announce publishes a worker's record, and tells of those that are overdue.
--
-- The record keeps since when its worker has announced itself without a gap of more
-- than half of ttl. All that time the store has been there, and is the same: what was
-- announced before is still known. It answers
-- the mark of the store too, which is made anew when the store has lost it.
--
-- KEYS     workers expire mark
-- USES     base clock
-- ARGV     worker, ttl in ms, record, a new mark, how long an overdue record is kept in ms, how many of them to tell of
-- RETURNS  the mark, now, since when without a gap, in how many ms the next record of another is overdue (0: there is
--          none), the records that are overdue
-- COST     O(log workers), and O(overdue), at most 100
local worker, ttl, memory = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[5])
local old = call('ZRANGEBYSCORE', EXPIRE, '-inf', now - memory, 'LIMIT', 0, 100)
local before = call('HGET', WORKERS, worker)
each('ZREM', EXPIRE, old)
each('HDEL', WORKERS, old)

local seen, since = string.match(before or '', '^(%d+):(%d+):')
if not seen or now - seen > ttl / 2 or now < tonumber(seen) then since = now end
since = string.format('%.0f', since)
call('HSET', WORKERS, worker, string.format('%.0f', now) .. ':' .. since .. ':' .. ARGV[3])
call('ZADD', EXPIRE, now + ttl, worker)

local overdue = call('ZRANGEBYSCORE', EXPIRE, '(' .. now - memory, now, 'LIMIT', 0, tonumber(ARGV[6]))
local coming, soon = call('ZRANGEBYSCORE', EXPIRE, '(' .. now, '+inf', 'WITHSCORES', 'LIMIT', 0, 2), 0
for i = 2, #coming, 2 do
  if soon == 0 and coming[i - 1] ~= worker then soon = coming[i] - now end
end
call('SET', MARK, ARGV[4], 'NX')
return { call('GET', MARK), now, tonumber(since), soon, fields(WORKERS, overdue) }
