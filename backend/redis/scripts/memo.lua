-- memo reads one memo.
--
-- KEYS     memo
-- USES     base
-- ARGV     none
-- RETURNS  its value, its version, when it expires in ms (0: not); nothing if there is none
-- COST     O(1)
local memo = call('HMGET', MEMO, 'value', 'version', 'expires')
if not memo[2] then return {} end
return memo
