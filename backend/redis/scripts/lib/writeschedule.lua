-- writeschedule stores a record under a new version.
local function writeschedule(name, s)
  s.version = call('HINCRBY', META, 'versions', 1)
  local numbers = string.format('%.0f %s %s %s %.0f %.0f', s.version, s.next, s.paused, s.last, s.enqueued, s.skipped)
  call('HSET', SCHEDULES, name, numbers .. '\n' .. s.job .. '\n' .. s.spec) -- format ends a text at a NUL
end
