-- Adds a node to the watchers of some keys and reads the entries after a cursor, in one step.
--
-- KEYS    for each key, two keys: its watchers, its entries (see set.lua)
-- ARGV    1 node  2 lease, ms  3 limit, bytes  4 … a cursor for each key
-- returns for each key {offset of the newest entry; epochs; 1 if final, otherwise 0; entries that the cursor has seen;
--         w of set.lua or ""; first offset read; value; …}, {} if nothing is stored
--
-- It stops after the value that passes the limit. That key may have more values than the reply. The keys after it are
-- not subscribed: their replies are nil.
--
-- The watchers are a string, "position|node node@until …", that expires with the longest lease. `position` is that of
-- the newest entry, "" for none: a node that reads the string knows whether it is still a watcher and has missed
-- nothing. The node that joined last has no end. A node that was there before gets one (unix seconds, a lease from now;
-- renew.lua extends it) and is dropped after it. So a dead node is gone after two leases at most, without a cleanup
-- job. Example: "e1-7|n2 n1@1767225600".
local node, lease, room = ARGV[1], ARGV[2], tonumber(ARGV[3])
-- Values per HMGET: those after the limit are copied in vain.
local STEP = 16

local function join(watchers, position, others)
  local now = tonumber(redis.call('TIME')[1])
  local names = { node }
  for name, till in string.gmatch(others, '([^ @]+)@?(%d*)') do
    local lease_end = tonumber(till) or now + math.ceil(lease / 1000)
    if name ~= node and lease_end >= now then names[#names + 1] = name .. '@' .. lease_end end
  end
  if #names > 1 then redis.call('SET', watchers, position .. '|' .. table.concat(names, ' '), 'PX', lease) end
end

-- How many entries a cursor has seen. A cursor may have several positions, newest first, divided by dots. Each is true by
-- itself, so the one that has seen the most counts, but at most up to the end of its epoch here. An older position of the
-- same epoch beyond that end says nothing here: a server that was asked before had fallen back. 0 if no epoch is known.
local function seen_by(cursor, epochs, n)
  local last_of, before = {}, nil
  for epoch, first in string.gmatch(epochs, '([^ @]+)@(%d+)') do
    if before then last_of[before] = tonumber(first) - 1 end
    last_of[epoch], before = n, epoch
  end
  local most, counted = 0, {}
  for id, position in string.gmatch(cursor, '([^.-]+)%-(%d+)') do
    local offset, last = tonumber(position), last_of[id]
    if last and (offset <= last or not counted[id]) then most = math.max(most, math.min(offset, last)) end
    counted[id] = true
  end
  return most
end

local replies = {}
for k = 1, #KEYS, 2 do
  local watchers, entries, cursor = KEYS[k], KEYS[k + 1], ARGV[3 + (k + 1) / 2]
  local reply = false
  if room >= 0 then
    local head = redis.call('HMGET', entries, 'n', 'o', 'e', 'f', 'w')
    local n = tonumber(head[1]) or 0
    local position = n > 0 and string.match(head[3], '([^ @]+)@%d+$') .. '-' .. n or ''
    local alone = position .. '|' .. node
    local before = redis.call('SET', watchers, alone, 'PX', lease, 'GET')
    if before and before ~= alone then join(watchers, position, string.match(before, '|(.*)$') or '') end
    reply = {}
    if n > 0 then
      local seen = seen_by(cursor, head[3], n)
      local first = math.max(seen + 1, tonumber(head[2]))
      reply = { n, head[3], head[4] and 1 or 0, seen, head[5] or '', first }
      while first <= n and room >= 0 do
        local offsets = {}
        for offset = first, math.min(first + STEP - 1, n) do offsets[#offsets + 1] = tostring(offset) end
        for _, value in ipairs(redis.call('HMGET', entries, unpack(offsets))) do
          if room < 0 then break end
          reply[#reply + 1] = value
          room = room - #(value or '')
        end
        first = first + STEP
      end
    end
  end
  replies[#replies + 1] = reply
end
return replies
