-- describe answers what is known of jobs, six values for each: id, state, a
-- number (due, blocked: 0, expiry, keep-until), a record (of a running job; the
-- level and key of a blocked one), body, history. A job without a body has the
-- state "".
local function describe(ids)
  local out, bodies, blobs = {}, fields(JOBS, ids), fields(HISTORY, ids)
  for i, id in ipairs(ids) do
    local state, number, record = '', 0, ''
    if bodies[i] then
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
    out[#out + 1] = { id, state, number, record, bodies[i] or '', blobs[i] or '' }
  end
  return out
end
