-- ARGV[4] is what to add, ARGV[5] the expiry of a new key in seconds.
local max = 4294967295
local old = redis.call('GET', value)
if old then
  local count = string.match(old, '^%d+$') and #old <= 10 and tonumber(old)
  if not count or count > max or number(count) ~= old then return -3 end
end
local sum = tonumber(old or 0) + tonumber(ARGV[4])
if sum > max then return -2 end
if not reserve(#key + #number(sum)) then return -1 end
if old then
  -- Leaves the expiry as it is.
  redis.call('INCRBY', value, ARGV[4])
else
  write(number(sum), ARGV[5])
end
return sum
