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
import { Conflict, Unavailable, WrongStore } from 'tagwait';
import * as SQL from './postgres-sql.js';
import { backlogOf, InOrder, newest, peekOf, stateOf, store } from './state.js';
import { Survey } from './survey.js';

const HEARTBEAT = 2000; // ms
const TIMEOUT = 4000; // of a query, ms
/** PostgreSQL refuses a payload of 8,000 bytes: the nodes then read this one key again. */
const MAX_PAYLOAD = 7999;
/** Wrong password, no such user, no such database, no permission: a retry cannot succeed. */
const HOPELESS = ['28P01', '28000', '3D000', '42501'];

export class PostgresBroker {
  /** ms */
  lease = 15_000;
  #options;
  /** of every connection */
  #client;
  #pool;
  #listener;
  #events;
  #timer;
  #status = { up: false, reconnects: 0 };
  #closed = false;
  #inOrder = new InOrder();
  #survey;

  /** @param options url of the database; node, a unique name; history, entries to keep for each key */
  constructor(options) {
    this.#options = options;
    this.#client = {
      connectionString: options.url,
      query_timeout: TIMEOUT,
      connectionTimeoutMillis: TIMEOUT,
    };
    this.#pool = new pg.Pool(this.#client);
    // the error of an idle connection would end the process
    this.#pool.on('error', () => {});
  }

  async start(events) {
    this.#events = events;
    const channel = node => (node ? `tagwait:${node}` : 'tagwait');
    this.#survey = new Survey(this.#options.node, events, (node, message) =>
      this.#query('SELECT pg_notify($1, $2)', [channel(node), JSON.stringify(message)]),
    );
    this.#timer = setInterval(() => this.#heartbeat(), HEARTBEAT).unref();
    await this.#listen().catch(error => {
      if (HOPELESS.includes(error.code)) throw new WrongStore(`PostgreSQL: ${error.message}`);
    });
  }

  set(key, value, options) {
    return this.#transaction(key, async query => {
      const nodes = await query(SQL.WATCHERS, [key]);
      const state = stateOf((await query(SQL.READ, [key]))[0]?.state);
      const watched = nodes.some(({ alive }) => alive);
      const { receipt, entry } = store(state, value, options, watched, this.#options.history);
      if (!entry) return receipt;
      const whole = JSON.stringify({ key, entry });
      const message = Buffer.byteLength(whole) > MAX_PAYLOAD ? JSON.stringify({ gap: key }) : whole;
      const names = nodes.map(({ node }) => node);
      await query(SQL.WRITE, [key, JSON.stringify(state), state.expires / 1000, message, names]);
      return receipt;
    });
  }

  /** Holds the same lock as a set, so that a set comes wholly before or wholly after. */
  subscribe(key, since) {
    const work = async query => {
      await query(SQL.SUBSCRIBE, [key, this.#options.node]);
      return backlogOf(stateOf((await query(SQL.READ, [key]))[0]?.state), since);
    };
    return this.#inOrder.do(key, () => this.#transaction(key, work));
  }

  unsubscribe(key) {
    const remove = () => this.#query(SQL.UNSUBSCRIBE, [key, this.#options.node]);
    this.#inOrder.do(key, remove).catch(() => {});
  }

  async verify(known) {
    const rows = await this.#query(SQL.VERIFY, [this.#options.node, known.map(({ key }) => key)]);
    const positions = new Map(rows.map(({ key, state }) => [key, newest(stateOf(state))]));
    const current = ({ key, position }) => positions.has(key) && positions.get(key) === position;
    return known.filter(one => !current(one)).map(({ key }) => key);
  }

  async peek(key, waiters = true) {
    const [[row], [{ alive }]] = await Promise.all([this.#query(SQL.READ, [key]), this.#query(SQL.COUNT)]);
    return peekOf(stateOf(row?.state), waiters ? await this.#survey.ask(key, alive) : {});
  }

  async nodes() {
    const rows = await this.#query(SQL.OTHERS, [this.#options.node]);
    return [this.#events.describe(), ...rows.map(({ info }) => info)];
  }

  drop(...drop) {
    this.#survey.drop(...drop);
  }

  status() {
    return this.#status;
  }

  async close() {
    this.#closed = true;
    clearInterval(this.#timer);
    const left = this.#query(SQL.LEAVE, [this.#options.node]).catch(() => {});
    await Promise.race([left, new Promise(done => setTimeout(done, 500))]);
    this.#listener?.connection.stream.destroy();
    this.#pool.end().catch(() => {});
  }

  #query = async (text, values) => (await this.#pool.query(text, values).catch(unavailable)).rows;

  /** Runs `work` in a transaction that holds the lock of a key. */
  async #transaction(key, work) {
    const client = await this.#pool.connect().catch(unavailable);
    const query = async (text, values) => (await client.query(text, values).catch(unavailable)).rows;
    try {
      await query('BEGIN');
      await query(SQL.LOCK, [key]);
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

  /** Connects the client that receives notifications, again and again until it is closed. */
  async #listen() {
    const client = new pg.Client(this.#client);
    this.#listener = client;
    client.on('notification', ({ payload }) => this.#receive(JSON.parse(payload)));
    client.on('error', error => this.#lost(client, error));
    client.on('end', () => this.#lost(client, new Error('the connection was closed')));
    try {
      await client.connect();
      await client.query(SQL.TABLES);
      await client.query(`LISTEN tagwait; LISTEN "tagwait:${this.#options.node}"`);
      const { cause, reconnects } = this.#status;
      this.#status = { up: true, reconnects: cause === undefined ? reconnects : reconnects + 1 };
      await this.#heartbeat();
      this.#events.gap();
    } catch (error) {
      this.#lost(client, error);
      throw error;
    }
  }

  #lost(client, { message }) {
    if (client !== this.#listener || this.#closed) return;
    this.#listener = undefined;
    this.#status = { ...this.#status, up: false, cause: `PostgreSQL: ${message}` };
    client.connection.stream.destroy();
    const again = () => this.#closed || this.#listen().catch(() => {});
    setTimeout(again, 250 + Math.random() * 250).unref();
  }

  /** By the listening connection: a query without an answer shows that it is dead. */
  async #heartbeat() {
    const client = this.#listener;
    const values = [this.#options.node, JSON.stringify(this.#events.describe())];
    await client?.query(SQL.SEEN, values).catch(error => this.#lost(client, error));
    await this.#query(SQL.CLEAN).catch(() => {});
  }

  #receive(message) {
    if (message.entry) this.#events.entry(message.key, message.entry);
    else if (message.gap) this.#events.gap(message.gap);
    else this.#survey.receive(message);
  }
}

const unavailable = error => {
  throw new Unavailable(`PostgreSQL: ${error.message}`);
};
