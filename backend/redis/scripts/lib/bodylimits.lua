-- bodylimits finds the limits of a job in its body, as declare reads them: field 15 of a
-- message of protocol buffers.
local function bodylimits(body)
  local at, size = 7, #body
  local function varint()
    local n, unit = 0, 1
    while at <= size do
      local byte = string.byte(body, at)
      at, n, unit = at + 1, n + byte % 128 * unit, unit * 128
      if byte < 128 then return n end
    end
  end
  while at <= size do
    local tag, n = varint(), varint()
    if not n then break end
    if tag % 8 == 2 then
      if tag == 122 then return string.sub(body, at, at + n - 1) end
      at = at + n
    elseif tag % 8 ~= 0 then
      break
    end
  end
  return ''
end
