-- describe answers what is known of jobs, six values for each: id, state, a
-- number (due, blocked: 0, expiry, keep-until), a record (of a running job; the
-- level and key of a blocked one), body, history. A job without a body has the
-- state "". It ends before what it reads exceeds room, in bytes, though if some must
-- be read not before the first; and it answers also of how many ids it spoke.
local function describe(ids, room, some)
  local out = {}
  for i, id in ipairs(ids) do
    local size = call('HSTRLEN', JOBS, id)
    room = room - size - call('HSTRLEN', HISTORY, id) - call('HSTRLEN', RUNNING, id)
    if room < 0 and not (some and i == 1) then return out, i - 1 end
    local state, number, record = '', 0, ''
    if held(id, size) then
      local value
      state, value = stateof(id)
      if state == 'running' then
        number, record = tonumber(call('ZSCORE', LEASES, id) or 0), value
      elseif state == 'scheduled' then
        number = math.floor(value / 8)
      elseif state == 'blocked' then
        record = value
      elseif state ~= 'waiting' then
        number = tonumber(value)
      end
    end
    out[i] = { id, state, number, record, call('HGET', JOBS, id) or '', call('HGET', HISTORY, id) or '' }
  end
  return out, #ids
end
