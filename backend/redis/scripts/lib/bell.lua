-- bell: the wake-up marker. It is read here, so that a key of a wrong type
-- ends the script before the first write.
local rung = call('LLEN', BELL) > 0

local function ring()
  if not rung then
    call('RPUSH', BELL, 1)
    rung = true
  end
end
