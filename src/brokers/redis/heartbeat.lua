-- Renews a node's marker on one server and publishes its heartbeat.
--
-- KEYS    1 the node's marker on this server: missing after a flush or a clock jump, or if the last heartbeat is too old
-- ARGV    1 lifetime of the marker, ms  2 channel of all nodes  3 message
-- returns {1 if the marker was there, replication id of the server, see set.lua}
local there = redis.call('SET', KEYS[1], '1', 'PX', ARGV[1], 'GET')
redis.call('PUBLISH', ARGV[2], ARGV[3])
return { there and 1 or 0, string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)') }
