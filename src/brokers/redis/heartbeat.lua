-- Says on one server that a node lives, and looks whether the server is the same as before.
--
-- KEYS[1] the node's marker on this server: gone when the data were flushed or the clock jumped, and when the node died
-- ARGV    1 the marker's lifetime, ms  2 channel of all nodes  3 message
-- returns {1 if the marker was there, run_id of the server}
local there = redis.call('SET', KEYS[1], '1', 'PX', ARGV[1], 'GET')
redis.call('PUBLISH', ARGV[2], ARGV[3])
return { there and 1 or 0, string.match(redis.call('INFO', 'server'), 'run_id:(%x+)') }
