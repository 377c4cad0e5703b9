-- refund gives back the tokens of jobs that were leased and not run. If they have come anew
-- meanwhile there is nothing to put back.
local function refund(ids)
  for i, record in ipairs(fields(LIMITED, ids)) do
    local number, list = '0', {}
    if record then number, list = limitsof(record) end
    local any = false
    for _, l in ipairs(list) do
      local rule = ruleof(l.pair)
      if l.spent ~= '0' and rule.rate > 0 and tonumber(l.spent) > micro then
        fill(l.pair, tonumber(call('ZSCORE', RATES, l.pair) or micro) - interval(rule, l.cost))
        wake(l.pair)
      end
      any, l.spent = any or l.spent ~= '0', '0'
    end
    if any then writelimits(ids[i], number, list) end
  end
end
