-- rights tells what the user may not do, and fails where nothing can be written.
--
-- KEYS     queues
-- USES     base
-- ARGV     for each command the number of its words, and its words
-- RETURNS  the numbers of the commands that are denied, from 1; none before Redis 7,
--          which cannot tell
-- COST     O(commands)
local denied = {}
local i, n = 1, 0
while redis.acl_check_cmd and ARGV[i] do
  local words = tonumber(ARGV[i])
  n = n + 1
  local known, allowed = pcall(redis.acl_check_cmd, unpack(ARGV, i + 1, i + words))
  if known and not allowed then denied[#denied + 1] = n end
  i = i + words + 1
end
if not redis.acl_check_cmd or redis.acl_check_cmd('HDEL', QUEUES, '') then call('HDEL', QUEUES, '') end
return denied
