-- history: what is stored of a job's past, opaque but for its head of nine
-- bytes: crashes (1), attempts (4), length of the progress (4), big-endian. The
-- progress follows, then the rest.
local NOHISTORY = string.rep('\0', 9)

local function sane(blob)
  if not blob or #blob < 9 then return NOHISTORY end
  return blob
end

local function crashed(blob)
  blob = sane(blob)
  return string.char(math.min(255, string.byte(blob, 1) + 1)) .. string.sub(blob, 2)
end

local function withprogress(blob, progress)
  blob = sane(blob)
  local old = struct.unpack('>I4', blob, 6)
  return string.sub(blob, 1, 5) .. struct.pack('>I4', #progress) .. progress .. string.sub(blob, 10 + old)
end

-- progressof reads the progress from the record of a running job; nil if there
-- is none.
local function progressof(record)
  local stop = string.find(record, '\0', 1, true)
  if stop and stop < #record then return string.sub(record, stop + 1) end
end
