-- lanes tells which lanes have jobs that wait.
--
-- KEYS     waiting scheduled laneof lanes meta bell
-- USES     base clock bell lanes waiting promote
-- ARGV     id of a job, how many lanes to look at
-- RETURNS  the place of the job in its lane, 0 if it waits in none, whether there are more lanes, then each lane and how
--          many wait there; one with jobs of several priorities comes several times
-- COST     O(lanes)
if promote(1000) > 0 then ring() end
local members = call('ZRANGEBYLEX', LANES, '[w', '(x', 'LIMIT', 0, ARGV[2] + 1)
local out = { 0, #members > tonumber(ARGV[2]) and 1 or 0 }
for i = 1, math.min(#members, tonumber(ARGV[2])) do
  local name = string.sub(members[i], 36)
  local lane = string.sub(members[i], 2, 2) .. name
  out[#out + 1] = name
  out[#out + 1] = call('ZLEXCOUNT', LANES, '[j' .. lane .. '\0', '(j' .. lane .. '\1')
end
local l = laneof(ARGV[1])
if l and l.number ~= '-' then
  local first = '[j' .. l.level .. l.lane .. '\0'
  out[1] = call('ZLEXCOUNT', LANES, first, first .. l.number .. ARGV[1])
end
return out
