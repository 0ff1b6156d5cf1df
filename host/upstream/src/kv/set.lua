-- ARGV[4] is the new value, ARGV[5] its expiry in seconds.
if not reserve(#key + #ARGV[4]) then return -1 end
write(ARGV[4], ARGV[5])
return 0
