-- set_limit sets the rule of a class, whatever the programs say, or takes it back.
--
-- KEYS     classes blocked ready meta bell
-- USES     base bell
-- ARGV     class, rule ('' for none)
-- RETURNS  nothing
-- COST     O(1); what is parked is looked at by leases, 100 pairs at a time
local code = string.match(call('HGET', CLASSES, ARGV[1]) or '', '^[^\n]*')
if code == '' then code = '0 0 0 0' end
call('HSET', CLASSES, ARGV[1], code .. '\n' .. ARGV[2])
if #call('ZRANGEBYLEX', BLOCKED, '[limit:' .. ARGV[1] .. '/', '(limit:' .. ARGV[1] .. '0', 'LIMIT', 0, 1) > 0 then
  call('ZADD', READY, 0, ARGV[1] .. '\n')
  call('HDEL', META, 'common') -- see lib/limits.lua
  ring()
end
