-- Stores entries, each under a key of its own, and hands them to every node that watches one, in one step.
--
-- KEYS    for each entry, in turn
--   entries   hash, expires with the key:
--               n      number of the newest entry
--               o      number of the oldest entry kept
--               <n>    an entry's value, for o..n
--               e      epochs, oldest first: "id@first id@first …"; `first` is the first number of that epoch
--               r      the server process (run_id) that stored the newest entry
--               f      "1" once the final entry is stored
--               i:<id> receipt of the set with that id: "cursor watched"
--               j:<n>  the id of entry n, to forget its receipt by
--   watchers  string: "position|node node@until …", see subscribe.lua
-- ARGV    1 entries to keep  2 receipts to keep  3 the id of an epoch, should one begin  4 start of the nodes' channels
--         5 the nodes known to live, " node node ", on a Cluster, where a server knows neither who listens to another
--           nor the markers there; "*": not known yet, all are taken to live; "" elsewhere
--         6 elsewhere: start of the nodes' markers, see heartbeat.lua
--         then, for each entry: value, ttl in ms, final ("1" or ""), expected cursor or "*", id or "", when it was asked
--         for (unix ms: goes with the message, for those who measure, and is not kept), key
-- returns an error when an entry could not be stored: those before it are, those after it are not; else
--         for each entry {"stored" | "again" | "final" | "expect", cursor, 1 if some node watches the key}
-- publishes to each node, at once, "e" and a line for each entry, see messages.ts, whose encode_entry comes before this
--
-- An epoch begins with the key, and whenever another server process answers than the one that stored last: it may have
-- been promoted, or restarted from a file, without the newest entries, and numbers would mean two things. A cursor of
-- the lost end of an epoch then counts up to where that epoch ended here (the leader epochs of Kafka, KIP-101).
local keep, receipts, new_epoch, channels = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3], ARGV[4]
local living, markers = ARGV[5], ARGV[6]
local here = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
local messages, lives = {}, {}

-- A node that lost power may keep its subscription for minutes, and one that broke off has a marker for seconds.
local function is_there(node)
  if living == '*' then return true end
  if lives[node] == nil then
    if living ~= '' then
      lives[node] = string.find(living, ' ' .. node .. ' ', 1, true) ~= nil
    else
      lives[node] = redis.call('PUBSUB', 'NUMSUB', channels .. node)[2] > 0
        and redis.call('EXISTS', markers .. node) == 1
    end
  end
  return lives[node]
end

local function store(entries, watchers, value, ttl, final, expect, id, at, key)
  local head = redis.call('HMGET', entries, 'n', 'o', 'e', 'r', 'f', 'i:' .. id)
  local n, oldest, epochs, run = tonumber(head[1]) or 0, tonumber(head[2]) or 1, head[3] or '', head[4]

  local cursor = ''
  if n > 0 then cursor = string.match(epochs, '([^ @]+)@%d+$') .. '-' .. n end

  if id ~= '' and head[6] then
    local first, watched = string.match(head[6], '^(%S+) (%d)$')
    return { 'again', first, tonumber(watched) }
  end
  if head[5] then return { 'final', cursor } end
  if expect ~= '*' and expect ~= cursor then return { 'expect', cursor } end

  n = n + 1
  if run ~= here then
    -- eight epochs are more than a key sees; the oldest is forgotten, its cursors then count as none
    local kept = {}
    for epoch in string.gmatch(epochs .. ' ' .. new_epoch .. '@' .. n, '%S+') do kept[#kept + 1] = epoch end
    while #kept > 8 do table.remove(kept, 1) end
    epochs = table.concat(kept, ' ')
  end
  local prev = cursor
  cursor = string.match(epochs, '([^ @]+)@%d+$') .. '-' .. n

  local watched, nodes = 0, {}
  local names = string.match(redis.call('GET', watchers) or '', '|(.*)$')
  for node in string.gmatch(names or '', '([^ @]+)%S*') do
    nodes[#nodes + 1] = node
    if is_there(node) then watched = 1 end
  end

  local fields = { 'n', n, 'e', epochs, 'r', here, tostring(n), value }
  if final == '1' then fields[#fields + 1] = 'f'; fields[#fields + 1] = '1' end
  local gone = {}
  while n - oldest >= keep do
    gone[#gone + 1] = tostring(oldest)
    oldest = oldest + 1
  end
  fields[#fields + 1] = 'o'; fields[#fields + 1] = oldest
  if id ~= '' then
    fields[#fields + 1] = 'i:' .. id; fields[#fields + 1] = cursor .. ' ' .. watched
    fields[#fields + 1] = 'j:' .. n; fields[#fields + 1] = id
  end
  local ancient = n - receipts
  if ancient > 0 then
    local forgotten = redis.call('HGET', entries, 'j:' .. ancient)
    if forgotten then gone[#gone + 1] = 'j:' .. ancient; gone[#gone + 1] = 'i:' .. forgotten end
  end
  redis.call('HSET', entries, unpack(fields))
  if #gone > 0 then redis.call('HDEL', entries, unpack(gone)) end
  redis.call('PEXPIRE', entries, ttl)
  if names then redis.call('SET', watchers, cursor .. '|' .. names, 'KEEPTTL') end

  local line = encode_entry(key, cursor, prev, final, at, value)
  for _, node in ipairs(nodes) do messages[node] = (messages[node] or 'e') .. line end
  return { 'stored', cursor, watched }
end

local replies, failed = {}, nil
for k = 1, #KEYS, 2 do
  local a = 7 + (k - 1) / 2 * 7
  local stored, reply = pcall(store, KEYS[k], KEYS[k + 1], unpack(ARGV, a, a + 6))
  if not stored then failed = reply; break end
  replies[#replies + 1] = reply
end
-- also when one failed: what was stored before it is told of
for node, message in pairs(messages) do redis.call('PUBLISH', channels .. node, message) end
if failed then return type(failed) == 'table' and failed or redis.error_reply(failed) end
return replies
