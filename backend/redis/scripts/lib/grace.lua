-- grace: whether expired leases may be reclaimed. Each Lease, Renew and Sweep
-- leaves a beat. If there was none for more than half a lease, the store was
-- away for everyone, or nobody was there: the holders of leases get a third of a
-- lease, and a second at least, to renew before anything is taken from them.
--
-- Who can prove that the store was there spares that time: a proof is two instants,
-- "since last", between which this server has answered the caller without a gap of
-- more than half a lease, and was the same. It holds on until now if last is not
-- further back than that, and then whoever lives could renew from since on.
local function graceof(beat, grace, duration, proof)
  beat, grace = tonumber(beat or 0), tonumber(grace or 0)
  local quiet = now - math.max(beat, grace)
  local stale, changed = now - beat > 500, false
  local time = math.max(1000, math.floor(duration / 3))
  if beat > 0 and quiet > duration / 2 then grace, changed = now + time, true end
  if grace > now and proof and proof ~= '' then
    local since, last = string.match(proof, '^(%d+) (%d+)$')
    if since and now >= tonumber(last) and now - last <= duration / 2 then grace = math.min(grace, since + time) end
  end
  return grace, stale or changed, changed
end

local function leavebeat(grace, changed)
  if changed then
    call('HSET', META, 'beat', now, 'grace', grace)
  else
    call('HSET', META, 'beat', now)
  end
end
