-- bell: the wake-up marker. checkbell reads it, so that a key of a wrong type ends
-- the script; call it before the first write.
local rung

local function checkbell()
  if rung == nil then rung = call('LLEN', BELL) > 0 end
end

local function ring()
  checkbell()
  if not rung then
    call('RPUSH', BELL, 1)
    rung = true
  end
end
