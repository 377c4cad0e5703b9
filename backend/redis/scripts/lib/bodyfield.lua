-- bodyfield finds a text in the body of a job, a message of protocol buffers: the limits of the job, as declare reads them,
-- or its lane, as assign does.
local LIMITSTAG, LANETAG = 122, 130 -- of fields 15 and 16
local function bodyfield(body, wanted)
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
      if tag == wanted then return string.sub(body, at, at + n - 1) end
      at = at + n
    elseif tag % 8 ~= 0 then
      break
    end
  end
  return ''
end
