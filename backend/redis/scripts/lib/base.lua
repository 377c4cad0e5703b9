-- base: commands on long lists in chunks that the stack of Lua can hold. An even
-- chunk keeps pairs together.
local call = redis.call
local CHUNK = 1000

-- The record of a running job is a flag ('1': to be cancelled, '2': leased ahead,
-- else '0'), its level, a filler, the token at TOKENAT, a NUL, and its progress. The filler makes it too
-- long for the compact encoding of small hashes, in which Redis would look through
-- all of them for each.
local FILLER, TOKENAT = '--------------------------------------', 41

-- Where a body or a history is longer than this, META says 'bulky', and a lease looks
-- at the sizes of what it hands out.
local BULKY = 16384

local function each(command, key, list)
  local n = #list
  if n == 0 then return end
  if n <= CHUNK then return call(command, key, unpack(list)) end
  for i = 1, n, CHUNK do
    call(command, key, unpack(list, i, math.min(i + CHUNK - 1, n)))
  end
end

-- fields reads many fields of a hash; a missing one is false.
local function fields(key, list)
  local n = #list
  if n <= CHUNK then
    if n == 0 then return {} end
    return call('HMGET', key, unpack(list))
  end
  local all = {}
  for i = 1, n, CHUNK do
    local part = call('HMGET', key, unpack(list, i, math.min(i + CHUNK - 1, n)))
    for j = 1, #part do all[i + j - 1] = part[j] end
  end
  return all
end
