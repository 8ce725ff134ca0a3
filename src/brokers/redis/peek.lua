-- What is kept under a key: as subscribe.lua for a page without a cursor, but nobody becomes a watcher.
-- KEYS[1] entries  returns {milliseconds left, number of the newest, epochs, final, seen (0), first number, value, …}; {} for none
local head = redis.call('HMGET', KEYS[1], 'n', 'o', 'e', 'f')
local n = tonumber(head[1])
if not n then return {} end
local reply = { redis.call('PTTL', KEYS[1]), n, head[3], head[4] and 1 or 0, 0, tonumber(head[2]) }
local numbers = {}
for number = tonumber(head[2]), n do numbers[#numbers + 1] = tostring(number) end
for _, value in ipairs(redis.call('HMGET', KEYS[1], unpack(numbers))) do reply[#reply + 1] = value end
return reply
