-- rules: the numbers of classes, and buckets.
local rules = {}

-- ruleof is the rule of a pair's class: what was set, else what the programs say.
local function ruleof(pair)
  local class = string.match(pair, '^[^/]*')
  if not rules[class] then
    local code, fleet = string.match(call('HGET', CLASSES, class) or '', '^([^\n]*)\n?(.*)$')
    local slots, rate, per, burst = string.match(fleet ~= '' and fleet or code, '^(%d+) (%d+) (%d+) (%d+)$')
    rules[class] = { slots = tonumber(slots or 0), rate = tonumber(rate or 0), per = tonumber(per or 0), burst = tonumber(burst or 0) }
  end
  return rules[class]
end

local function slotsof(pair) return call('ZLEXCOUNT', SLOTS, '[' .. pair .. '\0', '(' .. pair .. '\1') end

local function interval(rule, tokens) return math.ceil(tokens * rule.per / rule.rate) end

-- spend says when an attempt that costs so many tokens may begin, and what becomes of the
-- bucket if it begins now.
local function spend(rule, pair, tokens)
  local after = math.max(tonumber(call('ZSCORE', RATES, pair) or 0), micro) + interval(rule, tokens)
  return after - interval(rule, math.max(rule.burst, tokens)), after
end

-- owe has a bucket whose rule has changed owe no more to a job that waits for it than if all had
-- been spent by the new rule.
local function owe(pair, tokens)
  local rule, full = ruleof(pair), tonumber(call('ZSCORE', RATES, pair) or 0)
  if rule.rate == 0 then return end
  local most = micro + interval(rule, math.max(rule.burst, tokens))
  if full > most then call('ZADD', RATES, string.format('%.0f', most), pair) end
end

-- fill keeps what became of a bucket: as text, as numbers of 16 digits would lose some.
local function fill(pair, full)
  local text = string.format('%.0f', full)
  call('ZADD', RATES, text, pair)
  return text
end
