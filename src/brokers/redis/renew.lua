-- Reads the watchers of some keys and extends the lease of one node among them.
--
-- KEYS    none: on a Cluster, one call reads keys of several slots of a server
-- ARGV    1 node  2 lease, ms; 0: only read  3 … watchers of each key (see subscribe.lua)
-- returns for each key its watchers before the call, "position|node node@until …"; false if there are none
local node, lease = ARGV[1], tonumber(ARGV[2])
local lease_end -- unix seconds

local replies = {}
for k = 3, #ARGV do
  local watchers = redis.call('GET', ARGV[k])
  replies[#replies + 1] = watchers
  if watchers and lease > 0 then
    -- another node joined later and gave this one an end: replace the end
    if string.find(watchers, node .. '@', 1, true) then
      lease_end = lease_end or redis.call('TIME')[1] + math.ceil(lease / 1000)
      local position, names = string.match(watchers, '^([^|]*)|(.*)$')
      local renewed = {}
      for name, till in string.gmatch(names, '([^ @]+)(%S*)') do
        renewed[#renewed + 1] = name .. (name == node and '@' .. lease_end or till)
      end
      redis.call('SET', ARGV[k], position .. '|' .. table.concat(renewed, ' '), 'PX', lease)
    else
      redis.call('PEXPIRE', ARGV[k], lease)
    end
  end
end
return replies
