-- schedules reads a page of schedules, by name, or one of them.
--
-- KEYS     schedules schedulenames jobs scheduled running blockedon completed cancelled dead
-- USES     base clock state schedule
-- ARGV     name of the only one ('' for a page), the name after which the page begins, limit
-- RETURNS  now, 1 if others follow, then name, record and state of the last job of each
-- COST     O(log schedules + limit)
local page = { now, 0 }
if ARGV[1] ~= '' then
  if call('HEXISTS', SCHEDULES, ARGV[1]) == 1 then page[3] = answer(ARGV[1]) end
  return page
end
local limit = tonumber(ARGV[3])
local names = call('ZRANGEBYLEX', SCHEDULENAMES, '(' .. ARGV[2], '+', 'LIMIT', 0, limit + 1)
if #names > limit then
  page[2] = 1
  names[#names] = nil
end
for _, name in ipairs(names) do page[#page + 1] = answer(name) end
return page
