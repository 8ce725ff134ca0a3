-- Reads what is stored under a key, as subscribe.lua does, without adding a watcher.
--
-- KEYS    1 entries (see set.lua)
-- ARGV    1 limit, bytes: it stops after the value that passes it  2 first offset to read, 1 for all that is kept
-- returns {time to live, ms; offset of the newest entry; epochs; 1 if final, otherwise 0; 0; ""; first offset; value; …},
--         {} if nothing is stored
local room, from = tonumber(ARGV[1]), tonumber(ARGV[2])
local head = redis.call('HMGET', KEYS[1], 'n', 'o', 'e', 'f')
local n = tonumber(head[1])
if not n then return {} end
local first = math.max(from, tonumber(head[2]))
local reply = { redis.call('PTTL', KEYS[1]), n, head[3], head[4] and 1 or 0, 0, '', first }
for offset = first, n do
  if room < 0 then break end
  local value = redis.call('HGET', KEYS[1], offset)
  reply[#reply + 1] = value
  room = room - #(value or '')
end
return reply
