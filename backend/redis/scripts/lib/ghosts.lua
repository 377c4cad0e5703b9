-- ghosts: a job that leaves the waiting ones other than by a lease stays in its
-- list as a ghost, counted by level and id, for the lease to skip. Ghosts of an
-- id always come before the id's own entry in the same list.
local function haunt(level, id)
  call('HINCRBY', GHOSTS, level .. id, 1)
  call('HINCRBY', META, 'ghosts', 1)
  rare()
end

-- unblock takes a job out of the blocked ones. on is its entry in BLOCKEDON.
local function unblock(id, on)
  call('ZREM', BLOCKED, string.sub(on, 2) .. '\0' .. (4 - tonumber(string.sub(on, 1, 1))) .. id)
  call('HDEL', BLOCKEDON, id)
end
