-- Notes that a page has proved an entry, and tells the nodes whose sets wait for it. Does nothing if none waits, or if the
-- entry is no longer kept: then a page whose cursor is beyond it may have lost it.
--
-- KEYS    1 entries (see set.lua)
-- ARGV    1 position  2 prefix of the nodes' channels  3 message
-- returns nothing
local position = ARGV[1]
local items, nodes = {}, nil
for item in string.gmatch(redis.call('HGET', KEYS[1], 'w') or '', '%S+') do
  local its, waiting = string.match(item, '^([^@]+)@(.+)$')
  if its == position then
    item, nodes = its, waiting
  end
  items[#items + 1] = item
end
if not nodes or not redis.call('HGET', KEYS[1], string.match(position, '%d+$')) then return end
redis.call('HSET', KEYS[1], 'w', table.concat(items, ' '))
for node in string.gmatch(nodes, '[^@]+') do redis.call('PUBLISH', ARGV[2] .. node, ARGV[3]) end
