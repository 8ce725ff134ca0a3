-- Stores one entry under each given key and publishes it to every node that watches the key, in one step.
--
-- KEYS    for each entry, two keys:
--   entries   hash, expires with the key:
--               n      offset of the newest entry
--               o      offset of the oldest entry kept
--               <n>    value of the entry at that offset, for o..n
--               e      epochs, oldest first: "id@first id@first …"; `first` is the first offset of that epoch
--               r      replication id (master_replid) of the server when it stored the newest entry
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
-- An epoch begins with the key, and whenever the server has another replication id than when it stored the entry before:
-- it may have been promoted or restarted without the newest entries, so the same offset could mean two entries. Redis
-- makes a new id at each start of a master and at each promotion, also when the same process was the master before; its
-- run_id stays the same then. It makes one as well when the first replica connects: that begins an epoch without need. A
-- cursor from the lost end of an epoch counts up to where that epoch ended here, as the leader epochs of Kafka do
-- (KIP-101). Example: with epochs "a@1 b@5" a cursor "a-7" has seen 4 entries.
local keep, receipts, new_epoch, channels = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3], ARGV[4]
local alive_nodes, markers, this_node = ARGV[5], ARGV[6], ARGV[7]
local call, find, sub, match, gmatch = redis.call, string.find, string.sub, string.match, string.gmatch
local messages, is_alive, lists = {}, {}, {}

local info = call('INFO', 'replication')
local _, before_id = find(info, 'master_replid:', 1, true)
local here = sub(info, before_id + 1, before_id + 40)

-- Checks both: a node that lost power may stay subscribed for minutes, a disconnected one keeps its marker for seconds.
local function alive(node)
  if alive_nodes == '*' then return true end
  if is_alive[node] == nil then
    if alive_nodes ~= '' then
      is_alive[node] = find(alive_nodes, ' ' .. node .. ' ', 1, true) ~= nil
    else
      is_alive[node] = call('PUBSUB', 'NUMSUB', channels .. node)[2] > 0 and call('EXISTS', markers .. node) == 1
    end
  end
  return is_alive[node]
end

local function append(list, ...)
  for _, item in ipairs({ ... }) do list[#list + 1] = item end
end

-- Appends an epoch. Keeps the newest eight: cursors of an older epoch count as none.
local function begin_epoch(epochs, first)
  local kept = {}
  for epoch in gmatch(epochs .. ' ' .. new_epoch .. '@' .. first, '%S+') do kept[#kept + 1] = epoch end
  while #kept > 8 do table.remove(kept, 1) end
  return table.concat(kept, ' ')
end

-- Deletes the entries from `oldest` up to `oldest_kept`, and the receipt that is too old once entry n is stored.
local function prune(entries, oldest, oldest_kept, n)
  local fields = {}
  for offset = oldest, oldest_kept - 1 do append(fields, tostring(offset)) end
  if n > receipts then
    local id = call('HGET', entries, 'j:' .. n - receipts)
    if id then append(fields, 'j:' .. n - receipts, 'i:' .. id) end
  end
  if #fields > 0 then call('HDEL', entries, unpack(fields)) end
end

-- The nodes that watch a key, by the names in `watchers`, and 1 if one of them is alive. Most keys of a batch have the
-- same names, so each list is made once.
local function list_of(names)
  if lists[names] then return lists[names] end
  local list = { nodes = {}, watched = 0 }
  for node in gmatch(names, '([^ @]+)%S*') do
    append(list.nodes, node)
    if alive(node) then list.watched = 1 end
  end
  lists[names] = list
  return list
end

-- Notes that this node waits for a page's proof of an entry, and forgets positions that are no longer kept.
-- Returns 1 if it is proved already.
local function want(entries, position, oldest)
  local kept, found = {}, 0
  for item in gmatch(call('HGET', entries, 'w') or '', '%S+') do
    local its = match(item, '^[^@]+')
    if its == position then
      if item == its then return 1 end
      if not find(item .. '@', '@' .. this_node .. '@', 1, true) then item = item .. '@' .. this_node end
      found = 1
    end
    if tonumber(match(its, '%d+$')) >= oldest then kept[#kept + 1] = item end
  end
  if found == 0 and tonumber(match(position, '%d+$')) >= oldest then
    kept[#kept + 1] = position .. '@' .. this_node
  end
  call('HSET', entries, 'w', table.concat(kept, ' '))
  return 0
end

local function store(entries, watchers, value, ttl, final, expect, id, at, key, receipt)
  local head = call('HMGET', entries, 'n', 'o', 'e', 'r', 'f', 'i:' .. id)
  local epoch, cursor = nil, ''
  if head[1] then
    epoch = match(head[3], '([^ @]+)@%d+$')
    cursor = epoch .. '-' .. head[1]
  end
  local watching = call('GET', watchers)
  local bar = watching and find(watching, '|', 1, true)
  local list = list_of(bar and sub(watching, bar + 1) or '')

  if id ~= '' and head[6] then
    local first, watched = match(head[6], '^(%S+) (%d)$')
    local proved = receipt == 'r' and want(entries, first, tonumber(head[2])) or 0
    if receipt == 'r' and proved == 0 then
      for _, node in ipairs(list.nodes) do call('PUBLISH', channels .. node, 'w ' .. key .. ' ' .. first) end
    end
    return { 'again', first, tonumber(watched), proved }
  end
  if head[5] then return { 'final', cursor } end
  if expect ~= '*' and expect ~= cursor then return { 'expect', cursor } end

  local n, oldest = (tonumber(head[1]) or 0) + 1, tonumber(head[2]) or 1
  local oldest_kept = math.max(oldest, n - keep + 1)
  local offset = tostring(n)
  -- only what changes: most sets append to an epoch
  local fields = { 'n', offset, offset, value }
  if head[4] ~= here then
    epoch = new_epoch
    append(fields, 'e', begin_epoch(head[3] or '', offset), 'r', here)
  end
  local prev = cursor
  cursor = epoch .. '-' .. offset
  if oldest_kept ~= oldest or not head[2] then append(fields, 'o', oldest_kept) end
  if final == '1' then append(fields, 'f', '1') end
  if id ~= '' then append(fields, 'i:' .. id, cursor .. ' ' .. list.watched, 'j:' .. offset, id) end
  call('HSET', entries, unpack(fields))
  if oldest_kept ~= oldest or n > receipts then prune(entries, oldest, oldest_kept, n) end
  if receipt == 'r' then want(entries, cursor, oldest_kept) end
  call('PEXPIRE', entries, ttl)
  if bar then
    call('SET', watchers, cursor .. sub(watching, bar), 'KEEPTTL')
    local line = encode_entry(key, cursor, prev, final .. receipt, at, value)
    for _, node in ipairs(list.nodes) do
      messages[node] = messages[node] or { 'e' }
      append(messages[node], line)
    end
  end
  return { 'stored', cursor, list.watched }
end

local replies, failed = {}, nil
for k = 1, #KEYS, 2 do
  local a = 8 + (k - 1) / 2 * 8
  local stored, reply = pcall(store, KEYS[k], KEYS[k + 1], unpack(ARGV, a, a + 7))
  if not stored then failed = reply; break end
  replies[#replies + 1] = reply
end
-- also after an error: the entries before it are stored
for node, message in pairs(messages) do call('PUBLISH', channels .. node, table.concat(message)) end
if failed then return type(failed) == 'table' and failed or redis.error_reply(failed) end
return replies
