-- schedule: the record of a schedule is a line of numbers (version, next, paused, last,
-- enqueued, skipped; instants in ms, 0 for none), a line with the id of its last job,
-- and its spec.
local function readschedule(name)
  local record = call('HGET', SCHEDULES, name)
  if not record then return end
  local version, next, paused, last, enqueued, skipped, job, spec =
    string.match(record, '^(%d+) (%d+) (%d+) (%d+) (%d+) (%d+)\n([^\n]*)\n(.*)$')
  if not version then return { version = '0', next = '0', paused = '0', last = '0', enqueued = 0, skipped = 0, job = '', spec = '' } end
  return {
    version = version, next = next, paused = paused, last = last,
    enqueued = tonumber(enqueued), skipped = tonumber(skipped), job = job, spec = spec,
  }
end

-- jobstate is the state of a job, empty if it has been forgotten.
local function jobstate(id)
  if id == '' or call('HEXISTS', JOBS, id) == 0 then return '' end
  local state, value = stateof(id)
  if state == 'scheduled' and tonumber(value) <= now * 8 + 7 then return 'waiting', value end
  return state, value
end

-- answer is a record as it is stored, and the state of its last job.
local function answer(name)
  local record = call('HGET', SCHEDULES, name)
  if not record then return { name, '', '' } end
  return { name, record, (jobstate(string.match(record, '^[^\n]*\n([^\n]*)\n') or '')) }
end
