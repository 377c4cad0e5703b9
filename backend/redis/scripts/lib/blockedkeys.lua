-- blockedkeys lists up to limit distinct keys that blocked jobs wait for, by
-- jumps from key to key, and over those of parked ones.
local function blockedkeys(limit)
  local keys, from = {}, '-'
  while #keys < limit do
    local found = call('ZRANGEBYLEX', BLOCKED, from, '+', 'LIMIT', 0, 1)[1]
    if not found then break end
    local stop = string.find(found, '\0', 1, true) or #found + 1
    local key = string.sub(found, 1, stop - 1)
    if string.sub(key, 1, 6) == 'limit:' then
      from = '[limit;'
    else
      keys[#keys + 1] = key
      from = '(' .. key .. '\1'
    end
  end
  return keys
end
