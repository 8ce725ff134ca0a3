-- Stores an entry and hands it to every node that watches the key, in one step.
--
-- KEYS[1] entries   hash, expires with the key:
--                     n      number of the newest entry
--                     o      number of the oldest entry kept
--                     <n>    an entry's value, for o..n
--                     e      lives, oldest first: "id@first id@first …"; `first` is the first number of that life
--                     r      the server process (run_id) that stored the newest entry
--                     f      "1" once the final entry is stored
--                     i:<id> receipt of the set with that id: "cursor watched"
--                     j:<n>  the id of entry n, to forget its receipt by
-- KEYS[2] watchers  string: "node node@until …", see subscribe.lua
-- ARGV    1 value  2 ttl, ms  3 final, "1" or ""  4 expected cursor, or "*"  5 id, or ""  6 entries to keep
--         7 receipts to keep  8 a life's id, should one begin  9 start of the nodes' channels  10 the key
--         11 " node node ", the nodes known to live, on a Cluster: there PUBLISH counts the receivers of one server alone;
--            "*": all are taken to live
--         12 when it was asked for, unix ms: goes with the message, for those who measure, and is not kept
-- returns {"stored" | "again" | "final" | "expect", cursor, 1 if some node watches the key}
--
-- A life begins with the key, and whenever another server process answers than the one that stored last: it may have
-- been promoted, or restarted from a file, without the newest entries, and numbers would mean two things. A cursor of
-- the lost end of a life then counts up to where that life ended here (the leader epochs of Kafka, KIP-101).
local entries, watchers = KEYS[1], KEYS[2]
local value, ttl, final, expect, id = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local head = redis.call('HMGET', entries, 'n', 'o', 'e', 'r', 'f', 'i:' .. id)
local n, oldest, lives, run = tonumber(head[1]) or 0, tonumber(head[2]) or 1, head[3] or '', head[4]

local cursor = ''
if n > 0 then cursor = string.match(lives, '([^ @]+)@%d+$') .. '-' .. n end

if id ~= '' and head[6] then
  local first, watched = string.match(head[6], '^(%S+) (%d)$')
  return { 'again', first, tonumber(watched) }
end
if head[5] then return { 'final', cursor } end
if expect ~= '*' and expect ~= cursor then return { 'expect', cursor } end

local here = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
n = n + 1
if run ~= here then
  -- eight lives are more than a key sees; the oldest is forgotten, its cursors then count as none
  local kept = {}
  for life in string.gmatch(lives .. ' ' .. ARGV[8] .. '@' .. n, '%S+') do kept[#kept + 1] = life end
  while #kept > 8 do table.remove(kept, 1) end
  lives = table.concat(kept, ' ')
end
local prev = cursor
cursor = string.match(lives, '([^ @]+)@%d+$') .. '-' .. n

local watched = 0
local message = 'e ' .. ARGV[10] .. ' ' .. cursor .. ' ' .. prev .. ' ' .. final .. ' ' .. ARGV[12] .. ' ' .. value
for node in string.gmatch(redis.call('GET', watchers) or '', '([^ @]+)%S*') do
  local receivers = redis.call('PUBLISH', ARGV[9] .. node, message)
  if receivers > 0 or ARGV[11] == '*' or string.find(ARGV[11], ' ' .. node .. ' ', 1, true) then watched = 1 end
end

local fields = { 'n', n, 'e', lives, 'r', here, tostring(n), value }
if final == '1' then fields[#fields + 1] = 'f'; fields[#fields + 1] = '1' end
local gone = {}
while n - oldest >= tonumber(ARGV[6]) do
  gone[#gone + 1] = tostring(oldest)
  oldest = oldest + 1
end
fields[#fields + 1] = 'o'; fields[#fields + 1] = oldest
if id ~= '' then
  fields[#fields + 1] = 'i:' .. id; fields[#fields + 1] = cursor .. ' ' .. watched
  fields[#fields + 1] = 'j:' .. n; fields[#fields + 1] = id
end
local ancient = n - tonumber(ARGV[7])
if ancient > 0 then
  local forgotten = redis.call('HGET', entries, 'j:' .. ancient)
  if forgotten then gone[#gone + 1] = 'j:' .. ancient; gone[#gone + 1] = 'i:' .. forgotten end
end
redis.call('HSET', entries, unpack(fields))
if #gone > 0 then redis.call('HDEL', entries, unpack(gone)) end
redis.call('PEXPIRE', entries, ttl)
return { 'stored', cursor, watched }
