-- serve: how a lease looks at jobs with limits. It goes by what lease.lua knows of the lease.

-- stops reports whether no more of them are to be looked at.
stops = function()
  if #ids - before >= begun then
    heldback = true
  elseif tried >= 500 then
    more = true
  else
    tried = tried + 1
    return false
  end
  return true
end

-- try counts a job that is to be handed out against its limits. If there is no room it answers
-- what park takes. One whose body is gone is dropped later.
try = function(id, level, record, unblocked)
  if call('HEXISTS', JOBS, id) == 0 then return end
  local number, list = limitsof(record)
  local pair, at = admit(id, level, number, list, unblocked)
  if pair then
    unfit(id)
    return pair, at, number, list
  end
  counted[id] = true
end

local heads -- the pairs that are ready, each with the first job that is parked there

local function peek(head)
  head.first = firstof(head.pair)
  if not head.first then call('ZREM', READY, head.pair) end
end

-- serve looks at the parked jobs of a level and above, and reports whether that ended the lease.
serve = function(level)
  if not heads then
    lookagain()
    heads = {}
    for i, pair in ipairs(call('ZRANGEBYSCORE', READY, '(0', now, 'LIMIT', 0, 100)) do
      heads[i] = { pair = pair }
      peek(heads[i])
    end
  end
  while true do
    local best
    for _, head in ipairs(heads) do
      local first = head.first
      if first and first.level >= level and (not best or first.rank < best.first.rank) then best = head end
    end
    if not best then return false end
    local id, member = best.first.id, best.first.member
    if #ids - before == asked or not fits(id) then
      more = true
      return true
    end
    if stops() then return true end
    local record = call('HGET', LIMITED, id)
    local pair, at, number, list
    if record then pair, at, number, list = try(id, best.first.level, record) end
    if pair ~= best.pair then
      call('ZREM', BLOCKED, member)
      if pair then
        park(id, best.first.level, number, list, pair, at)
      else
        call('HDEL', BLOCKEDON, id)
        ids[#ids + 1] = id
        levels[#ids] = best.first.level
        call('ZADD', READY, now, best.pair) -- the other pairs come before its next job
      end
      peek(best)
    else
      peek(best)
      if best.first and best.first.id == id then -- else this lease has parked one that precedes it
        best.first = nil
        if at then
          call('ZADD', READY, string.format('%.0f', at), pair)
        else
          call('ZREM', READY, pair)
        end
      end
    end
  end
end
