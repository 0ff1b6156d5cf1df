-- What the scripts of kv.rs share. Each runs as one step, so its answer and the accounts beside the values agree.
--
-- KEYS[1] is the value; KEYS[2] a hash of the size of each of the plugin's keys (key and value), with their sum
-- under the empty name; KEYS[3] a sorted set of when those expire that do. ARGV[1] is the key. Redis drops expired
-- values by itself; a script drops them from the accounts before it looks at these, not all at once. The time is Redis's own, and
-- stands still while a script runs.
local value, sizes, ends, key = KEYS[1], KEYS[2], KEYS[3], ARGV[1]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function number(n)
  return string.format('%.0f', n)
end

local function forget(name)
  local size = redis.call('HGET', sizes, name)
  if size then
    redis.call('HDEL', sizes, name)
    redis.call('HINCRBY', sizes, '', -tonumber(size))
  end
  redis.call('ZREM', ends, name)
end

-- How many of the plugin's expired keys one script drops: Redis serves nobody else meanwhile, and so many take about
-- a millisecond. As a script adds one key at most, they are soon gone all the same.
local sweep_max = 1000

for _, name in ipairs(redis.call('ZRANGEBYSCORE', ends, '-inf', '(' .. number(now), 'LIMIT', 0, sweep_max)) do
  forget(name)
end
-- The script's own key in any case, so that its old size counts for nothing.
local own = redis.call('ZSCORE', ends, key)
if own and tonumber(own) < now then forget(key) end

-- Whether `size` bytes may stand under the key, by ARGV[2] bytes and ARGV[3] keys; if so, they are counted. What
-- shrinks always may.
local function reserve(size)
  local old = tonumber(redis.call('HGET', sizes, key) or 0)
  local total = tonumber(redis.call('HGET', sizes, '') or 0) - old + size
  local keys = redis.call('HLEN', sizes) - redis.call('HEXISTS', sizes, '')
  if old == 0 then keys = keys + 1 end
  if (total > tonumber(ARGV[2]) and size > old) or (keys > tonumber(ARGV[3]) and old == 0) then
    return false
  end
  redis.call('HSET', sizes, key, number(size))
  redis.call('HSET', sizes, '', number(total))
  return true
end

-- Writes the value, to expire after `seconds` of them, or never where that is empty.
local function write(text, seconds)
  redis.call('SET', value, text)
  if seconds == '' then
    redis.call('ZREM', ends, key)
  else
    local at = number(now + tonumber(seconds) * 1000)
    redis.call('PEXPIREAT', value, at)
    redis.call('ZADD', ends, at, key)
  end
end
