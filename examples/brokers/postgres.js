/**
 * A broker over PostgreSQL, for a team that has a database and no Redis. Any number of nodes share it.
 *
 *   const broker = new PostgresBroker({ url: 'postgres://…', node: 'a', history: 16 });
 *   const tagwait = await createTagwait({ broker });
 *
 * A set is one transaction: it stores the entry and notifies the nodes that watch the key (LISTEN/NOTIFY). What this costs:
 * each set and each first poll of a key on a node is a transaction; commits that notify wait for each other, so one
 * server takes some hundred to some thousand sets a second; a set writes the key's whole state again. Clocks of the
 * nodes must agree to a second. PgBouncer in transaction mode cannot be used: LISTEN belongs to a session.
 */
import pg from 'pg';
import { Conflict, WrongStore } from 'tagwait';
import {
  decode,
  encode,
  InOrder,
  KeyState,
  nodesIn,
  outdated,
  StoreBroker,
  Survey,
  waitersIn,
} from 'tagwait/broker-kit';

const HEARTBEAT = 2000; // ms
/** PostgreSQL refuses a payload of 8,000 bytes: the nodes then read this one key again. */
const MAX_PAYLOAD = 7999;
/** Wrong password, no such user, no such database, no permission: a retry cannot succeed. */
const HOPELESS = ['28P01', '28000', '3D000', '42501'];
const hopeless = error => {
  throw HOPELESS.includes(error.code) ? new WrongStore(`PostgreSQL: ${error.message}`) : error;
};

/** UNLOGGED tables are empty after a crash of the server: `verify` finds that, and the nodes subscribe again. */
const TABLES = `
  SELECT pg_advisory_xact_lock(hashtext('tagwait tables'));
  CREATE TABLE IF NOT EXISTS tagwait_keys (key text PRIMARY KEY, state text NOT NULL, expires timestamptz NOT NULL);
  CREATE INDEX IF NOT EXISTS tagwait_expiry ON tagwait_keys (expires);
  CREATE UNLOGGED TABLE IF NOT EXISTS tagwait_nodes (node text PRIMARY KEY, seen timestamptz NOT NULL);
  CREATE UNLOGGED TABLE IF NOT EXISTS tagwait_watchers (key text, node text, PRIMARY KEY (key, node))`;
const ALIVE = `seen > now() - interval '6.5 s'`;
const LOCK = 'SELECT pg_advisory_xact_lock(hashtextextended($1, 0))';
const READ = 'SELECT state FROM tagwait_keys WHERE key = $1';
const WATCHERS = `SELECT node, ${ALIVE} AS alive FROM tagwait_watchers JOIN tagwait_nodes USING (node) WHERE key = $1`;
const WRITE = `WITH written AS (INSERT INTO tagwait_keys VALUES ($1, $2, to_timestamp($3))
  ON CONFLICT (key) DO UPDATE SET state = excluded.state, expires = excluded.expires)
  SELECT pg_notify('tagwait:' || node, $4) FROM unnest($5::text[]) AS node`;
const SUBSCRIBE = 'INSERT INTO tagwait_watchers VALUES ($1, $2) ON CONFLICT DO NOTHING';
const UNSUBSCRIBE = 'DELETE FROM tagwait_watchers WHERE key = $1 AND node = $2';
const VERIFY = `SELECT w.key, state FROM tagwait_watchers w LEFT JOIN tagwait_keys k USING (key)
  WHERE w.node = $1 AND w.key = ANY($2)`;
/** @returns how many nodes get the message */
const BROADCAST = `SELECT count(*)::int AS alive, pg_notify('tagwait', $1) FROM tagwait_nodes WHERE ${ALIVE}`;
const SEND = `SELECT pg_notify('tagwait:' || $1, $2)`;
const SEEN = 'INSERT INTO tagwait_nodes VALUES ($1, now()) ON CONFLICT (node) DO UPDATE SET seen = now()';
const CLEAN = `WITH expired AS (DELETE FROM tagwait_keys WHERE expires < now()),
  dead AS (DELETE FROM tagwait_nodes WHERE seen < now() - interval '1 h' RETURNING node)
  DELETE FROM tagwait_watchers WHERE node IN (SELECT node FROM dead)`;
const LEAVE = `WITH node AS (DELETE FROM tagwait_nodes WHERE node = $1)
  DELETE FROM tagwait_watchers WHERE node = $1`;

export class PostgresBroker extends StoreBroker {
  /** ms */
  lease = 15_000;
  #node;
  #history;
  /** of every connection */
  #client;
  #pool;
  /** the connection that receives notifications */
  #listener;
  #survey;
  #inOrder = new InOrder();

  /**
   * @param options url of the database; node, a unique name of at most 55 letters; history, entries to keep for each key;
   *   timeout of a query, ms
   */
  constructor({ url, node, history, timeout = 4000 }) {
    // a transaction may wait for a connection before its queries
    super({ name: 'PostgreSQL', interval: HEARTBEAT, timeout: 2.5 * timeout });
    this.#node = node;
    this.#history = history;
    this.#client = { connectionString: url, query_timeout: timeout, connectionTimeoutMillis: timeout };
    // many may wait for a free connection
    this.#pool = new pg.Pool({ ...this.#client, connectionTimeoutMillis: 2 * timeout });
    // the error of an idle connection would end the process
    this.#pool.on('error', () => {});
  }

  async start(events) {
    const broadcast = async message => (await this.#query(BROADCAST, [message]))[0].alive;
    const send = (node, message) => this.#query(SEND, [node, message]).catch(() => {});
    this.#survey = new Survey(this.#node, { broadcast, send }, events);
    await super.start(events);
  }

  set(key, value, options) {
    return this.#transaction(key, async query => {
      const nodes = await query(WATCHERS, [key]);
      const state = new KeyState((await query(READ, [key]))[0]?.state);
      const watched = nodes.some(({ alive }) => alive);
      const { receipt, entry } = state.set(value, options, { history: this.#history, watched });
      if (!entry) return receipt;
      const whole = encode({ kind: 'entries', entries: [[key, entry]] });
      const message = Buffer.byteLength(whole) > MAX_PAYLOAD ? encode({ kind: 'gap', key }) : whole;
      await query(WRITE, [key, `${state}`, state.expires / 1000, message, nodes.map(({ node }) => node)]);
      return receipt;
    });
  }

  /** Holds the same lock as a set, so that a set comes wholly before or wholly after. */
  subscribe(key, since) {
    const work = async query => {
      await query(SUBSCRIBE, [key, this.#node]);
      return new KeyState((await query(READ, [key]))[0]?.state).since(since);
    };
    return this.#inOrder.do(key, () => this.#transaction(key, work));
  }

  unsubscribe(key) {
    const remove = () => this.#query(UNSUBSCRIBE, [key, this.#node]);
    this.#inOrder.do(key, remove).catch(() => {});
  }

  async verify(known) {
    const rows = await this.#query(VERIFY, [this.#node, known.map(({ key }) => key)]);
    const positions = new Map(rows.map(({ key, state }) => [key, new KeyState(state).cursor]));
    return outdated(known, key => positions.get(key));
  }

  async peek(key, waiters = true) {
    const [[row], replies] = await Promise.all([
      this.#query(READ, [key]),
      waiters ? this.#survey.ask(key) : [],
    ]);
    return new KeyState(row?.state).peek(waitersIn(replies));
  }

  async nodes() {
    return nodesIn(await this.#survey.ask());
  }

  drop(key, name, from) {
    this.#query(BROADCAST, [encode({ kind: 'drop', key, name, from })]).catch(() => {});
  }

  async close() {
    await super.close();
    this.#pool.end().catch(() => {});
  }

  #query = async (text, values) => (await this.call(this.#pool.query(text, values))).rows;

  #transaction = (key, work) => this.call(this.#locked(key, work));

  /** Runs `work` in a transaction that holds the lock of a key. */
  async #locked(key, work) {
    const client = await this.#pool.connect();
    const query = async (text, values) => (await client.query(text, values)).rows;
    try {
      await query('BEGIN');
      await query(LOCK, [key]);
      const result = await work(query);
      await query('COMMIT');
      client.release();
      return result;
    } catch (error) {
      // true closes the connection, which ends the transaction; after a conflict it is as good as before
      if (error instanceof Conflict) await query('ROLLBACK');
      client.release(!(error instanceof Conflict));
      throw error;
    }
  }

  /** Connects the client that receives notifications. */
  async connect(signal) {
    const client = new pg.Client(this.#client);
    this.#listener = client;
    const lost = error => signal.aborted || this.lost(error);
    signal.addEventListener('abort', () => client.connection.stream.destroy());
    client.on('notification', ({ payload }) => this.#survey.receive(decode(payload)));
    client.on('error', lost);
    client.on('end', () => lost(new Error('the connection was closed')));
    await client.connect().catch(hopeless);
    await client.query(TABLES).catch(hopeless);
    await client.query(`LISTEN tagwait; LISTEN "tagwait:${this.#node}"`);
  }

  /** By the listening connection: a query without an answer shows that it is dead. */
  async heartbeat() {
    await this.#listener.query(SEEN, [this.#node]);
    await this.#query(CLEAN).catch(() => {});
  }

  leave() {
    return this.#query(LEAVE, [this.#node]);
  }
}
