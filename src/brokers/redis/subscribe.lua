-- Makes a node a watcher of some keys and reads what is newer than each page's cursor, in one step.
--
-- KEYS    for each key its watchers and its entries (see set.lua), in turn
-- ARGV    1 node  2 lease, ms  3 … a cursor for each key
-- returns for each key {number of the newest entry, epochs, final, seen, first number read, value, …}; {} for a key with none
--
-- Watchers are a string, "position|node node@until …", that expires with the longest lease. `position` is the newest
-- entry's ("" for none): a node that reads the string back knows whether it is still watching, and has missed nothing.
-- The last node to come carries no time; whoever is there already is given one (unix seconds, a lease from now, renewed
-- by renew.lua), and is dropped once it has passed: a node that died is gone after two leases at most, without a sweeper.
local node, lease = ARGV[1], ARGV[2]

local function join(watchers, position, others)
  local now = tonumber(redis.call('TIME')[1])
  local names = { node }
  for name, till in string.gmatch(others, '([^ @]+)@?(%d*)') do
    local ends = tonumber(till) or now + math.ceil(lease / 1000)
    if name ~= node and ends >= now then names[#names + 1] = name .. '@' .. ends end
  end
  if #names > 1 then redis.call('SET', watchers, position .. '|' .. table.concat(names, ' '), 'PX', lease) end
end

-- How many entries a cursor has seen: up to the end of its epoch here. Its first position counts whose epoch is known
-- (positions are divided by dots, newest first); none when there is none.
local function seenBy(cursor, epochs, n)
  for id, number in string.gmatch(cursor, '([^.-]+)%-(%d+)') do
    local seen
    for epoch, first in string.gmatch(epochs, '([^ @]+)@(%d+)') do
      if seen then return math.min(seen, tonumber(first) - 1) end
      if epoch == id then seen = tonumber(number) end
    end
    if seen then return math.min(seen, n) end
  end
  return 0
end

local replies = {}
for k = 1, #KEYS, 2 do
  local watchers, entries, cursor = KEYS[k], KEYS[k + 1], ARGV[2 + (k + 1) / 2]
  local head = redis.call('HMGET', entries, 'n', 'o', 'e', 'f')
  local n = tonumber(head[1]) or 0
  local position = n > 0 and string.match(head[3], '([^ @]+)@%d+$') .. '-' .. n or ''
  local alone = position .. '|' .. node
  local before = redis.call('SET', watchers, alone, 'PX', lease, 'GET')
  if before and before ~= alone then join(watchers, position, string.match(before, '|(.*)$') or '') end
  local reply = {}
  if n > 0 then
    local seen = seenBy(cursor, head[3], n)
    local first = math.max(seen + 1, tonumber(head[2]))
    reply = { n, head[3], head[4] and 1 or 0, seen, first }
    if first <= n then
      local numbers = {}
      for number = first, n do numbers[#numbers + 1] = tostring(number) end
      for _, value in ipairs(redis.call('HMGET', entries, unpack(numbers))) do reply[#reply + 1] = value end
    end
  end
  replies[#replies + 1] = reply
end
return replies
