-- figures reads the figures of a queue.
--
-- KEYS     figurekinds
--          (and behind it the hashes that record has written)
-- USES     base clock
-- ARGV     hours kept, then for each of the hashes the number of its fields, and these
-- RETURNS  now, the kinds, and of each hash a list of the figures in its fields
-- COST     O(fields)
local kinds = call('ZRANGEBYSCORE', FIGUREKINDS, '(' .. string.format('%.0f', now - ARGV[1] * 3600000), '+inf')
local found, at = {}, 2
for i = 2, #KEYS do
  local list = {}
  for j = 1, tonumber(ARGV[at]) do list[j] = ARGV[at + j] end
  at = at + 1 + #list
  found[i - 1] = fields(KEYS[i], list)
end
return { now, kinds, found }
