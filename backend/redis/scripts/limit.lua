-- limit reads how it stands with a limit.
--
-- KEYS     blocked blockedon classes slots rates
-- USES     base clock
-- ARGV     class, pair, id of a job, how many holders to tell of
-- RETURNS  now, the rules of the class (false if it is not known), how many have a slot, "pair\0id" of some, how many
--          are parked, the place of the job, when the bucket is full in microseconds
-- COST     O(log jobs), and O(holders)
local class, pair, id = ARGV[1], ARGV[2], ARGV[3]
local key = 'limit:' .. pair
local first, last = '[' .. pair .. '\0', '(' .. pair .. '\1'
local place, on = 0, call('HGET', BLOCKEDON, id)
local number = on and string.sub(on, 2, #key + 2) == key .. '\0' and string.sub(on, #key + 3)
if number then
  place = call('ZLEXCOUNT', BLOCKED, '[' .. key .. '\0', '[' .. key .. '\0' .. 4 - tonumber(string.sub(on, 1, 1)) .. number .. id)
end
return {
  now, call('HGET', CLASSES, class), call('ZLEXCOUNT', SLOTS, first, last),
  call('ZRANGEBYLEX', SLOTS, first, last, 'LIMIT', 0, tonumber(ARGV[4])),
  call('ZLEXCOUNT', BLOCKED, '[' .. key .. '\0', '(' .. key .. '\1'), place, call('ZSCORE', RATES, pair) or '0',
}
