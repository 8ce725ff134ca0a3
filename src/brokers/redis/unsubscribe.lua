-- Takes a node from the watchers of some keys (see subscribe.lua).
-- KEYS the watchers of each key  ARGV 1 node
for _, watchers in ipairs(KEYS) do
  local names = redis.call('GET', watchers)
  if names then
    local others = {}
    for name, till in string.gmatch(names, '([^ @]+)(%S*)') do
      if name ~= ARGV[1] then others[#others + 1] = name .. till end
    end
    if #others == 0 then
      redis.call('DEL', watchers)
    else
      redis.call('SET', watchers, table.concat(others, ' '), 'KEEPTTL')
    end
  end
end
