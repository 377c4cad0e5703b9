-- paused: META has '1' for a pause without an end, or until when it lasts. pausedfrom
-- answers that, or false where a pause is over.
local function pausedfrom(value)
  if value and value ~= '1' and tonumber(value) <= now then return false end
  return value
end
