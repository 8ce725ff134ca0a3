/**
 * A broker over Apache ZooKeeper, for a team that runs an ensemble already. Any number of nodes share it.
 *
 *   const broker = new ZookeeperBroker({ servers: 'zk1:2181,zk2:2181,zk3:2181', node: 'a', history: 16 });
 *   const tagwait = await createTagwait({ broker });
 *
 * A key is a znode with its state as JSON. A set replaces it if its version is unchanged. A node that watches the key has
 * an ephemeral child there, and a data watch. What this costs:
 * - Each set, and the first and the last poll of a key on a node, is a write: a majority of the ensemble puts it to disk.
 *   All nodes together have some hundred to some thousand a second, and more servers make that less. ZooKeeper is
 *   made for data that is read often and changed rarely.
 * - A znode has at most 1 MB, so history × value size must stay well below. Clocks of the nodes must agree to a second.
 * - A watch says that a key has changed, and not how: after more sets than the history the key is read as a gap.
 * - Clients cannot send messages: `peek` counts one request for each other node that waits, and `drop` is left out.
 * - node-zookeeper-client has had only updates of its dependencies since 2018. It has neither TLS nor `sync`: a `peek` from a
 *   server that lags behind may miss the newest set. It keeps the watch of a key until the key changes or is deleted.
 */
import zookeeper from 'node-zookeeper-client';
import { Conflict } from 'tagwait';
import { backlogOf, InOrder, newest, peekOf, stateOf, store } from './state.js';
import { Session, unavailable } from './zookeeper-session.js';

const { NO_NODE, NODE_EXISTS, BAD_VERSION } = zookeeper.Exception;
const { EPHEMERAL } = zookeeper.CreateMode;
const KEYS = '/tagwait/keys';
const NODES = '/tagwait/nodes';
/** ms */
const TIMEOUT = 4000;
const HEARTBEAT = 5000;
const SWEEP = 60_000;
/** A key may be `.` or `..`, which are no names of znodes. */
const pathOf = key => `${KEYS}/k${key}`;

export class ZookeeperBroker {
  /** ms */
  lease = 60_000;
  #options;
  #events;
  #session;
  #timers = [];
  #inOrder = new InOrder();
  /** the position up to which entries were delivered, and the watcher, by subscribed key */
  #watched = new Map();

  /** @param options servers, `host:port,host:port`; node, a unique name; history, entries to keep for each key */
  constructor(options) {
    this.#options = options;
  }

  async start(events) {
    this.#events = events;
    // the client itself does not notice a server that is silent
    const beat = () => this.#heartbeat().catch(() => this.#session.reconnect());
    this.#timers.push(setInterval(beat, HEARTBEAT).unref());
    this.#timers.push(
      setInterval(() => this.#sweep().catch(() => {}), SWEEP * (0.5 + Math.random())).unref(),
    );
    this.#session = new Session(this.#options.servers, async () => {
      for (const path of [KEYS, NODES]) await this.#call('mkdirp', path).catch(() => {});
      await this.#heartbeat().catch(() => {});
      events.gap();
    });
    await this.#session.start();
  }

  set(key, value, options) {
    return this.#change(key, async path => {
      const [data, stat] = await this.#call('getData', path);
      const [watchers] = await this.#call('getChildren', path);
      const state = stateOf(data?.toString());
      const { receipt, entry } = store(state, value, options, watchers.length > 0, this.#options.history);
      if (entry) await this.#call('setData', path, Buffer.from(JSON.stringify(state)), stat.version);
      return receipt;
    });
  }

  /** The child first: a set that does not see it is read, and one that is not read fires the watch. */
  subscribe(key, since) {
    return this.#change(key, async path => {
      await this.#create(`${path}/${this.#options.node}`, undefined, EPHEMERAL);
      const watched = this.#watched.get(key) ?? { changed: () => this.#deliver(key) };
      const [data] = await this.#call('getData', path, watched.changed);
      const state = stateOf(data?.toString());
      this.#watched.set(key, { ...watched, position: newest(state) });
      return backlogOf(state, since);
    });
  }

  unsubscribe(key) {
    this.#change(key, async path => {
      this.#watched.delete(key);
      const ignored = error => error.code === NO_NODE || unavailable(error);
      await this.#call('remove', `${path}/${this.#options.node}`).catch(ignored);
    }).catch(() => {});
  }

  async verify(known) {
    const current = async ({ key, position }) => {
      const { state, watchers } = await this.#read(key);
      return watchers.includes(this.#options.node) && newest(state) === position;
    };
    const results = await Promise.all(known.map(current));
    return known.filter((_, index) => !results[index]).map(({ key }) => key);
  }

  async peek(key) {
    const { state, watchers } = await this.#read(key);
    const own = this.#options.node;
    const held = watchers.map(node => [node, node === own ? this.#events.held(key) : 1]);
    return peekOf(state, Object.fromEntries(held.filter(([, count]) => count > 0)));
  }

  async nodes() {
    const [names] = await this.#call('getChildren', NODES).catch(unavailable);
    const others = names.filter(name => name !== this.#options.node);
    const read = async name => JSON.parse((await this.#call('getData', `${NODES}/${name}`))[0]);
    const found = await Promise.allSettled(others.map(read));
    // a node may leave in between
    return [this.#events.describe(), ...found.filter(({ value }) => value).map(({ value }) => value)];
  }

  status() {
    return this.#session.status;
  }

  async close() {
    for (const timer of this.#timers) clearInterval(timer);
    this.#watched.clear();
    await this.#session.close();
  }

  #call = (method, ...given) => this.#session.call(method, ...given);
  #create = (path, data, mode) =>
    this.#call('create', path, ...[data, mode].filter(Boolean)).catch(error => {
      if (error.code !== NODE_EXISTS) throw error;
    });

  /** Runs operations of one key in order; again if another node was quicker, or the znode is missing. */
  #change(key, work) {
    const path = pathOf(key);
    return this.#inOrder.do(key, async () => {
      for (const end = Date.now() + TIMEOUT; ; )
        try {
          return await work(path);
        } catch (error) {
          if (error instanceof Conflict) throw error;
          if (Date.now() > end || ![NO_NODE, BAD_VERSION].includes(error.code)) unavailable(error);
          if (error.code === NO_NODE) await this.#create(path).catch(unavailable);
        }
    });
  }

  async #read(key) {
    const [[data], [watchers]] = await Promise.all([
      this.#call('getData', pathOf(key)),
      this.#call('getChildren', pathOf(key)),
    ]).catch(error => (error.code === NO_NODE ? [[], [[]]] : unavailable(error)));
    return { state: stateOf(data?.toString()), watchers };
  }

  /** Called when the data of a watched key has changed: reads it, watches again, and delivers what is new. */
  async #deliver(key) {
    await this.#inOrder
      .do(key, async () => {
        const watched = this.#watched.get(key);
        if (!watched) return;
        const [data] = await this.#call('getData', pathOf(key), watched.changed);
        const state = stateOf(data?.toString());
        const { entries, lost } = backlogOf(state, watched.position);
        watched.position = newest(state);
        if (lost > 0) this.#events.gap(key);
        for (const entry of entries) this.#events.entry(key, entry);
      })
      .catch(() => this.#events.gap(key));
  }

  async #heartbeat() {
    const path = `${NODES}/${this.#options.node}`;
    const info = Buffer.from(JSON.stringify(this.#events.describe()));
    await this.#create(path, info, EPHEMERAL);
    await this.#call('setData', path, info);
  }

  /** Deletes keys that have expired and that no node watches. */
  async #sweep() {
    const [names] = await this.#call('getChildren', KEYS);
    for (const name of names) {
      const [data, stat] = await this.#call('getData', `${KEYS}/${name}`);
      const expired = stateOf(data?.toString()).last === 0;
      // refused if it was set or watched in between
      if (expired) await this.#call('remove', `${KEYS}/${name}`, stat.version).catch(() => {});
    }
  }
}
