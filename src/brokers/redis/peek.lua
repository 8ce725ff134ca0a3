-- Reads what is stored under a key, as subscribe.lua does for an empty cursor, without adding a watcher.
--
-- KEYS    1 entries (see set.lua)
-- returns {time to live, ms; offset of the newest entry; epochs; 1 if final, otherwise 0; 0; ""; first offset; value; …},
--         {} if nothing is stored
local head = redis.call('HMGET', KEYS[1], 'n', 'o', 'e', 'f')
local n = tonumber(head[1])
if not n then return {} end
local reply = { redis.call('PTTL', KEYS[1]), n, head[3], head[4] and 1 or 0, 0, '', tonumber(head[2]) }
local offsets = {}
for offset = tonumber(head[2]), n do offsets[#offsets + 1] = tostring(offset) end
for _, value in ipairs(redis.call('HMGET', KEYS[1], unpack(offsets))) do reply[#reply + 1] = value end
return reply
