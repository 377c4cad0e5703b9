-- events reads a page of a journal. Where it begins is what backend.EventsQuery.Begin says.
--
-- KEYS     journal
-- ARGV     the position ('' for none), how many of the last ones without a position (0: all), limit
-- RETURNS  the numbers of the oldest and the newest event (0: there is none), and the entries
-- COST     O(limit)
local call = redis.call
local function numberof(entry) return tonumber(string.match(entry[1], '^%d+')) end
local oldest = call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
if not oldest then return { 0, 0, {} } end
local first, last = numberof(oldest), numberof(call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1])
local from = first
if ARGV[1] ~= '' then
  local after = tonumber(ARGV[1])
  if after + 1 >= first and after <= last then from = after + 1 end
elseif tonumber(ARGV[2]) > 0 then
  from = math.max(first, last - tonumber(ARGV[2]) + 1)
end
local page = {}
for i, entry in ipairs(call('XRANGE', KEYS[1], string.format('%.0f-0', from), '+', 'COUNT', ARGV[3])) do page[i] = entry[2][2] end
return { first, last, page }
