-- put_schedule stores a schedule, new or in the place of the one of a version.
--
-- KEYS     schedules schedulenames jobs scheduled running blockedon completed cancelled dead meta
-- USES     base clock state schedule writeschedule
-- ARGV     name, version (0: it is new), next in ms (0: none), paused (0 or 1), spec, how many there may be
-- RETURNS  1 stored, 0 was so before, -1 another version, -2 too many; then name, record, state of the last job
-- COST     O(log schedules)
local name, version = ARGV[1], ARGV[2]
local s = readschedule(name)
if s and s.next == ARGV[3] and s.paused == ARGV[4] and s.spec == ARGV[5] then return { 0, unpack(answer(name)) } end
if version ~= (s and s.version or '0') then return { -1 } end
if not s then
  if call('ZCARD', SCHEDULENAMES) >= tonumber(ARGV[6]) then return { -2 } end
  s = { last = '0', enqueued = 0, skipped = 0, job = '' }
end
s.next, s.paused, s.spec = ARGV[3], ARGV[4], ARGV[5]
writeschedule(name, s)
call('ZADD', SCHEDULENAMES, 0, name)
call('HINCRBY', META, 'schedules', 1)
return { 1, unpack(answer(name)) }
