local there = redis.call('DEL', value)
forget(key)
return there
