-- mend looks at up to 100 slots, the next ones with each call, and frees those whose job does
-- not run any more: a program of an older version has settled it, or the server has lost a part.
-- It also forgets the limits and lanes of jobs that are gone, of a few that it takes at random.
local function mend()
  for _, id in ipairs(call('HRANDFIELD', LIMITED, 20)) do
    if call('HEXISTS', JOBS, id) == 0 then call('HDEL', LIMITED, id) end
  end
  for _, name in ipairs(call('HRANDFIELD', LANEOF, 20)) do
    local id = string.match(name, '^j(.*)$')
    if id and call('HEXISTS', JOBS, id) == 0 then
      leave(id)
      forgetlanes({ id })
    end
  end
  local from = call('HGET', META, 'mended')
  local members = call('ZRANGEBYLEX', SLOTS, from and '(' .. from or '-', '+', 'LIMIT', 0, 100)
  for _, member in ipairs(members) do
    local pair, id = string.match(member, '^([^%z]*)%z(.*)$')
    local record = call('HGET', LIMITED, id)
    local there = record and call('HEXISTS', JOBS, id) == 1
    local free = not there
    if there and call('HEXISTS', RUNNING, id) == 0 then
      local _, list = limitsof(record)
      for _, l in ipairs(list) do free = free or l.pair == pair and l.hold == 'r' end
    end
    if free then
      call('ZREM', SLOTS, member)
      if not there then call('HDEL', LIMITED, id) end
      wake(pair)
    end
  end
  if #members == 100 then
    call('HSET', META, 'mended', members[100])
  elseif from then
    call('HDEL', META, 'mended')
  end
end
