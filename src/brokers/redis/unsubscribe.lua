-- Removes a node from the watchers of some keys (see subscribe.lua).
--
-- KEYS    the watchers of each key
-- ARGV    1 node
-- returns nothing
for _, watchers in ipairs(KEYS) do
  local before = redis.call('GET', watchers)
  if before then
    local position, names = string.match(before, '^([^|]*)|(.*)$')
    local others = {}
    for name, till in string.gmatch(names or '', '([^ @]+)(%S*)') do
      if name ~= ARGV[1] then others[#others + 1] = name .. till end
    end
    if #others == 0 then
      redis.call('DEL', watchers)
    else
      redis.call('SET', watchers, position .. '|' .. table.concat(others, ' '), 'KEEPTTL')
    end
  end
end
