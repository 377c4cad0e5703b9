-- record adds what one worker has to tell: figures and events of a queue, or the events of the workers.
--
-- The figures of a minute are fields of a hash per hour, those of an hour of a hash per day: the number
-- of the minute or hour for all kinds together, and with a space and the kind for one. Events are entries
-- of a stream, numbered without gaps.
--
-- KEYS     figurekinds journal last
--          (and behind these the hashes; figures name theirs by their places)
-- USES     base clock
-- ARGV     call, how many kinds there may be, the name of the others, how many events are kept,
--          minutes kept, hours kept, number of figures, of each the minute, the places of its two hashes,
--          the kind and the numbers; then the events
-- RETURNS  1 recorded, 0 was recorded before
-- COST     O(figures + events + numbers in them)
local last = call('GET', LAST)
if last and tonumber(last) >= tonumber(ARGV[1]) then return 0 end
call('SET', LAST, ARGV[1], 'PX', MEMORY)

local MINUTE, HOUR = 60000, 3600000
local most, others, kept = tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])
local minutes, hours, figures = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])

local function add(sum, text)
  for name, n in string.gmatch(text, '(%a%w*)=(%d+)') do sum[name] = (sum[name] or 0) + tonumber(n) end
end

if figures > 0 then
  local gone = call('ZRANGEBYSCORE', FIGUREKINDS, '-inf', now - hours * HOUR, 'LIMIT', 0, 1000)
  each('ZREM', FIGUREKINDS, gone)
end
local known, sums = {}, {}
local function kindof(kind)
  if not known[kind] then
    if not call('ZSCORE', FIGUREKINDS, kind) and call('ZCARD', FIGUREKINDS) >= most then kind = others end
    call('ZADD', FIGUREKINDS, now, kind)
    known[kind] = true
  end
  return kind
end
local function put(place, number, kind, text)
  local hash = sums[place] or {}
  sums[place] = hash
  for _, field in ipairs({ number, number .. ' ' .. kind }) do
    hash[field] = hash[field] or {}
    add(hash[field], text)
  end
end
local at = 8
for _ = 1, figures do
  local minute, kind, text = tonumber(ARGV[at]), kindof(ARGV[at + 3]), ARGV[at + 4]
  local hour = math.floor(minute / 60)
  if minute * MINUTE <= now + MINUTE then
    if minute > math.floor(now / MINUTE) - minutes then put(ARGV[at + 1], string.format('%.0f', minute), kind, text) end
    if hour > math.floor(now / HOUR) - hours then put(ARGV[at + 2], string.format('%.0f', hour), kind, text) end
  end
  at = at + 5
end
for place, hash in pairs(sums) do
  local key = KEYS[3 + tonumber(place)]
  for field, sum in pairs(hash) do
    add(sum, call('HGET', key, field) or '')
    local text = {}
    for name, n in pairs(sum) do text[#text + 1] = name .. '=' .. string.format('%.0f', n) end
    call('HSET', key, field, table.concat(text, ' '))
  end
  call('PEXPIRE', key, string.find(key, ':m:%d+$') and minutes * MINUTE + HOUR or (hours + 24) * HOUR)
end
if figures > 0 then call('PEXPIRE', FIGUREKINDS, hours * HOUR) end

if at > #ARGV then return 1 end
local newest = call('XREVRANGE', JOURNAL, '+', '-', 'COUNT', 1)[1]
local number = newest and tonumber(string.match(newest[1], '^%d+')) or 0
for i = at, #ARGV do
  number = number + 1
  call('XADD', JOURNAL, 'MAXLEN', '~', kept, string.format('%.0f-0', number), 'e', ARGV[i])
end
call('PEXPIRE', JOURNAL, hours * HOUR)
return 1
