-- save_history stores the history of a job that is held, but for its progress, which renew stores.
--
-- KEYS     running history meta
-- USES     base history
-- ARGV     id, token, history
-- RETURNS  1 stored, 0 the token does not hold the job
-- COST     O(1), and the sizes of both histories
local id, mark, blob = ARGV[1], ARGV[2] .. '\0', ARGV[3]
local record = call('HGET', RUNNING, id)
if not record or string.sub(record, TOKENAT, TOKENAT + #mark - 1) ~= mark then return 0 end
local old = sane(call('HGET', HISTORY, id))
local progress = struct.unpack('>I4', old, 6)
blob = withprogress(string.sub(old, 1, 1) .. string.sub(blob, 2), string.sub(old, 10, 9 + progress))
call('HSET', HISTORY, id, blob)
if #blob > BULKY then
  call('HSET', META, 'bulky', 1)
  call('HDEL', META, 'common') -- as a lease is to look at the sizes
end
return 1
