-- ghosts: a job that leaves the waiting ones other than by a lease stays in its
-- list as a ghost, counted by level and id, for the lease to skip. Ghosts of an
-- id always come before the id's own entry in the same list.
local function haunt(level, id)
  call('HINCRBY', GHOSTS, level .. id, 1)
  call('HINCRBY', META, 'ghosts', 1)
  rare()
end

-- unblock takes a job out of the blocked ones. on is its entry in BLOCKEDON: its level and
-- key, and of a parked one a NUL and its number.
local function unblock(id, on)
  local level, key, number = string.match(on, '^(%d)([^%z]*)%z?(.*)$')
  call('ZREM', BLOCKED, key .. '\0' .. (4 - tonumber(level)) .. number .. id)
  call('HDEL', BLOCKEDON, id)
end
