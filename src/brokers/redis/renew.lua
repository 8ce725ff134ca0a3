-- Reads the watchers of some keys, and keeps this node among them for longer.
--
-- ARGV    1 node  2 lease, ms; 0: only read  3 … watchers of each key (see subscribe.lua)
--         no KEYS: on a Cluster the keys of several slots of one server are looked at together
-- returns for each what was there: "position|node node@until"; false: nothing
local node, lease = ARGV[1], tonumber(ARGV[2])
local ends

local replies = {}
for k = 3, #ARGV do
  local watchers = redis.call('GET', ARGV[k])
  replies[#replies + 1] = watchers
  if watchers and lease > 0 then
    -- another node has given this one's name a time: it gets a new one
    if string.find(watchers, node .. '@', 1, true) then
      ends = ends or redis.call('TIME')[1] + math.ceil(lease / 1000)
      local position, names = string.match(watchers, '^([^|]*)|(.*)$')
      local renewed = {}
      for name, till in string.gmatch(names, '([^ @]+)(%S*)') do
        renewed[#renewed + 1] = name .. (name == node and '@' .. ends or till)
      end
      redis.call('SET', ARGV[k], position .. '|' .. table.concat(renewed, ' '), 'PX', lease)
    else
      redis.call('PEXPIRE', ARGV[k], lease)
    end
  end
end
return replies
