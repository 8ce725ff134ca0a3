-- A node's sign of life on one server, and what it learns by it.
--
-- KEYS[1] the node's marker on this server: gone when the data were flushed, or the clock jumped
-- ARGV    1 the marker's life, ms  2 channel of all nodes  3 message
-- returns {the marker was there, run_id of the server}
local there = redis.call('SET', KEYS[1], '1', 'PX', ARGV[1], 'GET')
redis.call('PUBLISH', ARGV[2], ARGV[3])
return { there and 1 or 0, string.match(redis.call('INFO', 'server'), 'run_id:(%x+)') }
