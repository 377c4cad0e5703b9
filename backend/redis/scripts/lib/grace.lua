-- grace: whether expired leases may be reclaimed. Each Lease, Renew and Sweep
-- leaves a beat. If there was none for more than half a lease, the store was
-- away for everyone, or nobody was there: the holders of leases get a third of a
-- lease, and a second at least, to renew before anything is taken from them.
local function graceof(beat, grace, duration)
  beat, grace = tonumber(beat or 0), tonumber(grace or 0)
  local quiet = now - math.max(beat, grace)
  local stale = now - beat > 500
  if beat > 0 and quiet > duration / 2 then
    return now + math.max(1000, math.floor(duration / 3)), true, true
  end
  return grace, stale, false
end

local function leavebeat(grace, changed)
  if changed then
    call('HSET', META, 'beat', now, 'grace', grace)
  else
    call('HSET', META, 'beat', now)
  end
end
