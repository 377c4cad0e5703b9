-- turn bounds what an act on ids does in one call: it ends before the bytes that it
-- reads or 500 ids are exceeded, though not before the first id. What is left is for
-- the next call.
local ROOM = 4194304
local function turn(i, size)
  ROOM = ROOM - size
  return i == 1 or i <= 500 and ROOM >= 0
end
