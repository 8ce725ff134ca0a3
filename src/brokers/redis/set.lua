-- Stores one entry under each given key and publishes it to every node that watches the key, in one step.
--
-- KEYS    for each entry, two keys:
--   entries   hash, expires with the key:
--               n      offset of the newest entry
--               o      offset of the oldest entry kept
--               <n>    value of the entry at that offset, for o..n
--               e      epochs, oldest first: "id@first id@first …"; `first` is the first offset of that epoch
--               r      server process (run_id) that stored the newest entry
--               f      "1" once the final entry is stored
--               i:<id> receipt of the set with that id: "cursor watched"
--               w      positions whose sets waited for a receipt: "position@node@node …"; "position" once it is proved
--               j:<n>  id of the set that stored entry n, to delete its receipt by
--   watchers  string: "position|node node@until …", see subscribe.lua
-- ARGV    1 entries to keep per key
--         2 receipts to keep per key
--         3 id for a new epoch, if one begins
--         4 prefix of the nodes' channels
--         5 on a Cluster, where a server knows neither the subscribers nor the markers of other servers: the nodes that are
--           alive, " node node ", or "*" if not known yet, then all count as alive; otherwise ""
--         6 prefix of the nodes' markers (see heartbeat.lua), not used on a Cluster
--         7 this node
--         then eight for each entry: value; ttl, ms; final, "1" or ""; expected cursor or "*"; set id or "";
--         time of the request, unix ms, which is published and not stored; key; "r" if the set waits for a receipt, or ""
-- returns for each entry {"stored" | "again" | "final" | "expect", cursor, 1 if a node watches the key}; of "again" also
--         1 if a page has proved the entry and the set waits for a receipt, otherwise 0.
--         An error if an entry could not be stored: the entries before it are stored, those after it are not.
-- publishes one message to each node, "e" and a line per entry: see messages.ts, which defines encode_entry; and for a
--         repeated set that waits for a receipt "w"
--
-- An epoch begins with the key, and whenever another server process stores than the one before: it may have been
-- promoted or restarted without the newest entries, so the same offset could mean two entries. A cursor from the lost
-- end of an epoch counts up to where that epoch ended here, as the leader epochs of Kafka do (KIP-101). Example: with
-- epochs "a@1 b@5" a cursor "a-7" has seen 4 entries.
local keep, receipts, new_epoch, channels = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3], ARGV[4]
local alive_nodes, markers, this_node = ARGV[5], ARGV[6], ARGV[7]
local here = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
local messages, is_alive = {}, {}

-- Checks both: a node that lost power may stay subscribed for minutes, a disconnected one keeps its marker for seconds.
local function alive(node)
  if alive_nodes == '*' then return true end
  if is_alive[node] == nil then
    if alive_nodes ~= '' then
      is_alive[node] = string.find(alive_nodes, ' ' .. node .. ' ', 1, true) ~= nil
    else
      is_alive[node] = redis.call('PUBSUB', 'NUMSUB', channels .. node)[2] > 0
        and redis.call('EXISTS', markers .. node) == 1
    end
  end
  return is_alive[node]
end

-- Appends an epoch. Keeps the newest eight: cursors of an older epoch count as none.
local function begin_epoch(epochs, first)
  local kept = {}
  for epoch in string.gmatch(epochs .. ' ' .. new_epoch .. '@' .. first, '%S+') do kept[#kept + 1] = epoch end
  while #kept > 8 do table.remove(kept, 1) end
  return table.concat(kept, ' ')
end

-- Deletes the entries from `oldest` up to `oldest_kept`, and the receipt that is too old once entry n is stored.
local function prune(entries, oldest, oldest_kept, n)
  local fields = {}
  for offset = oldest, oldest_kept - 1 do fields[#fields + 1] = tostring(offset) end
  if n > receipts then
    local id = redis.call('HGET', entries, 'j:' .. n - receipts)
    if id then fields[#fields + 1] = 'j:' .. n - receipts; fields[#fields + 1] = 'i:' .. id end
  end
  if #fields > 0 then redis.call('HDEL', entries, unpack(fields)) end
end

local function nodes_of(watchers)
  local nodes = {}
  for node in string.gmatch(string.match(watchers or '', '|(.*)$') or '', '([^ @]+)%S*') do nodes[#nodes + 1] = node end
  return nodes
end

-- Notes that this node waits for a page's proof of an entry, and forgets positions that are no longer kept.
-- Returns 1 if it is proved already.
local function want(entries, position, oldest)
  local kept, found = {}, 0
  for item in string.gmatch(redis.call('HGET', entries, 'w') or '', '%S+') do
    local its = string.match(item, '^[^@]+')
    if its == position then
      if item == its then return 1 end
      if not string.find(item .. '@', '@' .. this_node .. '@', 1, true) then item = item .. '@' .. this_node end
      found = 1
    end
    if tonumber(string.match(its, '%d+$')) >= oldest then kept[#kept + 1] = item end
  end
  if found == 0 and tonumber(string.match(position, '%d+$')) >= oldest then
    kept[#kept + 1] = position .. '@' .. this_node
  end
  redis.call('HSET', entries, 'w', table.concat(kept, ' '))
  return 0
end

local function store(entries, watchers, value, ttl, final, expect, id, at, key, receipt)
  local head = redis.call('HMGET', entries, 'n', 'o', 'e', 'r', 'f', 'i:' .. id)
  local n, oldest, epochs, run = tonumber(head[1]) or 0, tonumber(head[2]) or 1, head[3] or '', head[4]

  local cursor = ''
  if n > 0 then cursor = string.match(epochs, '([^ @]+)@%d+$') .. '-' .. n end

  if id ~= '' and head[6] then
    local first, watched = string.match(head[6], '^(%S+) (%d)$')
    local proved = receipt == 'r' and want(entries, first, oldest) or 0
    if receipt == 'r' and proved == 0 then
      for _, node in ipairs(nodes_of(redis.call('GET', watchers))) do
        redis.call('PUBLISH', channels .. node, 'w ' .. key .. ' ' .. first)
      end
    end
    return { 'again', first, tonumber(watched), proved }
  end
  if head[5] then return { 'final', cursor } end
  if expect ~= '*' and expect ~= cursor then return { 'expect', cursor } end

  n = n + 1
  if run ~= here then epochs = begin_epoch(epochs, n) end
  local prev = cursor
  cursor = string.match(epochs, '([^ @]+)@%d+$') .. '-' .. n

  local before = redis.call('GET', watchers)
  local watched, nodes, names = 0, nodes_of(before), string.match(before or '', '|(.*)$')
  for _, node in ipairs(nodes) do
    if alive(node) then watched = 1 end
  end

  local oldest_kept = math.max(oldest, n - keep + 1)
  local fields = { 'n', n, 'o', oldest_kept, 'e', epochs, 'r', here, tostring(n), value }
  if final == '1' then fields[#fields + 1] = 'f'; fields[#fields + 1] = '1' end
  if id ~= '' then
    fields[#fields + 1] = 'i:' .. id; fields[#fields + 1] = cursor .. ' ' .. watched
    fields[#fields + 1] = 'j:' .. n; fields[#fields + 1] = id
  end
  redis.call('HSET', entries, unpack(fields))
  prune(entries, oldest, oldest_kept, n)
  if receipt == 'r' then want(entries, cursor, oldest_kept) end
  redis.call('PEXPIRE', entries, ttl)
  if names then redis.call('SET', watchers, cursor .. '|' .. names, 'KEEPTTL') end

  local line = encode_entry(key, cursor, prev, final .. receipt, at, value)
  for _, node in ipairs(nodes) do messages[node] = (messages[node] or 'e') .. line end
  return { 'stored', cursor, watched }
end

local replies, failed = {}, nil
for k = 1, #KEYS, 2 do
  local a = 8 + (k - 1) / 2 * 8
  local stored, reply = pcall(store, KEYS[k], KEYS[k + 1], unpack(ARGV, a, a + 7))
  if not stored then failed = reply; break end
  replies[#replies + 1] = reply
end
-- also after an error: the entries before it are stored
for node, message in pairs(messages) do redis.call('PUBLISH', channels .. node, message) end
if failed then return type(failed) == 'table' and failed or redis.error_reply(failed) end
return replies
