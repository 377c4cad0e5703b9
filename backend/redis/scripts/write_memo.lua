-- write_memo sets, adds to or deletes one memo. Redis itself forgets those whose time is
-- up.
--
-- KEYS     memo done
-- USES     base clock
-- ARGV     set, add or delete; call; the version that there must be (empty: any, -: none); the value, or the number to
--          add; time to live in ms (0: for ever); how long the call is remembered in ms
-- RETURNS  1 done, 0 it is of another version; then the sum, if it is one; when it expires in ms (0: not)
-- COST     O(1)
local act, mark, wanted, ttl = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[5])
local done = call('GET', DONE)
if done then
  local expires, sum = string.match(done, '^(%d+) (.*)$')
  return { 1, sum, expires }
end
local memo = call('HMGET', MEMO, 'version', 'expires')
if wanted ~= '' and wanted ~= (memo[1] or '-') then return { 0 } end

local expires, sum = ttl > 0 and string.format('%.0f', now + ttl) or '0', ''
if act == 'delete' then
  call('DEL', MEMO)
  expires = '0'
elseif act == 'add' then
  call('HINCRBY', MEMO, 'value', ARGV[4]) -- of what is no number, or too large a sum, it ends the script here
  sum = call('HGET', MEMO, 'value')
  if memo[1] then expires = memo[2] end
  call('HSET', MEMO, 'version', mark, 'expires', expires)
else
  call('HSET', MEMO, 'value', ARGV[4], 'version', mark, 'expires', expires)
end
if expires ~= '0' then
  call('PEXPIREAT', MEMO, expires)
elseif memo[1] and memo[2] ~= '0' then
  call('PERSIST', MEMO)
end
call('SET', DONE, expires .. ' ' .. sum, 'PX', ARGV[6])
return { 1, sum, expires }
