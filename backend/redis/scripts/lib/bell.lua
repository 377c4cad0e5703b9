-- bell: the wake-up marker. One that holds something else is left to the next lease
-- that leaves nothing behind, which deletes it.
local function ring()
  if call('EXISTS', BELL) == 0 then call('RPUSH', BELL, 1) end
end
