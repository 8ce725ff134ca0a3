/** The tables of postgres.js, and its statements. */

/** UNLOGGED tables are empty after a crash of the server: `verify` finds that, and the nodes subscribe again. */
export const TABLES = `
  SELECT pg_advisory_xact_lock(hashtext('tagwait tables'));
  CREATE TABLE IF NOT EXISTS tagwait_keys (key text PRIMARY KEY, state text NOT NULL, expires timestamptz NOT NULL);
  CREATE INDEX IF NOT EXISTS tagwait_expiry ON tagwait_keys (expires);
  CREATE UNLOGGED TABLE IF NOT EXISTS tagwait_nodes (node text PRIMARY KEY, seen timestamptz NOT NULL, info json NOT NULL);
  CREATE UNLOGGED TABLE IF NOT EXISTS tagwait_watchers (key text, node text, PRIMARY KEY (key, node))`;
export const ALIVE = `seen > now() - interval '6.5 s'`;
export const COUNT = `SELECT count(*)::int AS alive FROM tagwait_nodes WHERE ${ALIVE}`;
export const OTHERS = `SELECT info FROM tagwait_nodes WHERE node <> $1 AND ${ALIVE}`;
export const SUBSCRIBE = 'INSERT INTO tagwait_watchers VALUES ($1, $2) ON CONFLICT DO NOTHING';
export const UNSUBSCRIBE = 'DELETE FROM tagwait_watchers WHERE key = $1 AND node = $2';
export const LOCK = 'SELECT pg_advisory_xact_lock(hashtextextended($1, 0))';
export const READ = 'SELECT state FROM tagwait_keys WHERE key = $1';
export const WATCHERS = `SELECT node, ${ALIVE} AS alive FROM tagwait_watchers JOIN tagwait_nodes USING (node) WHERE key = $1`;
export const VERIFY = `SELECT w.key, state FROM tagwait_watchers w LEFT JOIN tagwait_keys k USING (key)
  WHERE w.node = $1 AND w.key = ANY($2)`;
export const SEEN = `INSERT INTO tagwait_nodes VALUES ($1, now(), $2)
  ON CONFLICT (node) DO UPDATE SET seen = now(), info = $2`;
export const CLEAN = `WITH expired AS (DELETE FROM tagwait_keys WHERE expires < now()),
  dead AS (DELETE FROM tagwait_nodes WHERE seen < now() - interval '1 h' RETURNING node)
  DELETE FROM tagwait_watchers WHERE node IN (SELECT node FROM dead)`;
export const LEAVE = `WITH node AS (DELETE FROM tagwait_nodes WHERE node = $1)
  DELETE FROM tagwait_watchers WHERE node = $1`;
export const WRITE = `WITH written AS (INSERT INTO tagwait_keys VALUES ($1, $2, to_timestamp($3))
  ON CONFLICT (key) DO UPDATE SET state = excluded.state, expires = excluded.expires)
  SELECT pg_notify('tagwait:' || node, $4) FROM unnest($5::text[]) AS node`;
