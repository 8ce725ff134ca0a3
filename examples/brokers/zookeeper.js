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
import { once } from 'node:events';
import zookeeper from 'node-zookeeper-client';
import { InOrder, KeyState, outdated, StoreBroker } from 'tagwait/broker-kit';

const { Exception, State, CreateMode } = zookeeper;
const KEYS = '/tagwait/keys';
const NODES = '/tagwait/nodes';
/** ms */
const SESSION_TIMEOUT = 6000;
const HEARTBEAT = 5000;
const SWEEP = 60_000;
/** A key may be `.` or `..`, which are no names of znodes. */
const pathOf = key => `${KEYS}/k${key}`;
/** Returns `result` for one error of ZooKeeper. */
const except = (code, result) => error => {
  if (error.cause?.code !== code) throw error;
  return result;
};

export class ZookeeperBroker extends StoreBroker {
  /** ms */
  lease = 60_000;
  #options;
  #client;
  #inOrder = new InOrder();
  /** the position up to which entries were delivered, by subscribed key */
  #delivered = new Map();

  /** @param options servers, `host:port,host:port`; node, a unique name; history, entries to keep for each key */
  constructor(options) {
    super({ name: 'ZooKeeper', interval: HEARTBEAT });
    this.#options = options;
  }

  set(key, value, options) {
    return this.#change(key, async path => {
      const { state, version, watchers } = await this.#look(path);
      const how = { history: this.#options.history, watched: watchers.length > 0 };
      const { receipt, entry } = state.set(value, options, how);
      if (entry) await this.#call('setData', path, Buffer.from(`${state}`), version);
      return receipt;
    });
  }

  /** The child first: a set that does not see it is read, and one that is not read fires the watch. */
  subscribe(key, since) {
    return this.#change(key, async path => {
      await this.#create(`${path}/${this.#options.node}`, undefined, CreateMode.EPHEMERAL);
      const { state } = await this.#read(path, this.#changed);
      this.#delivered.set(key, state.cursor);
      return state.since(since);
    });
  }

  unsubscribe(key) {
    this.#change(key, async path => {
      this.#delivered.delete(key);
      await this.#call('remove', `${path}/${this.#options.node}`).catch(except(Exception.NO_NODE));
    }).catch(() => {});
  }

  verify(known) {
    return outdated(known, async key => {
      const { state, watchers } = await this.#find(key);
      return watchers.includes(this.#options.node) ? state.cursor : undefined;
    });
  }

  async peek(key) {
    const { state, watchers } = await this.#find(key);
    const own = this.#options.node;
    const held = watchers.map(node => [node, node === own ? this.events.held(key) : 1]);
    return state.peek(Object.fromEntries(held));
  }

  async nodes() {
    const [names] = await this.#call('getChildren', NODES);
    const others = names.filter(name => name !== this.#options.node);
    const found = await Promise.allSettled(others.map(name => this.#call('getData', `${NODES}/${name}`)));
    // a node may leave in between
    return [this.events.describe(), ...found.flatMap(({ value }) => (value ? [JSON.parse(value[0])] : []))];
  }

  /** @returns what the callback of this method of the client gets */
  #call(method, ...given) {
    const answer = new Promise((done, fail) => {
      this.#client[method](...given, (error, ...results) => (error ? fail(error) : done(results)));
    });
    return this.call(answer);
  }

  #create = (path, data, mode) =>
    this.#call('create', path, ...[data, mode].filter(Boolean)).catch(except(Exception.NODE_EXISTS));

  async #read(path, watcher) {
    const [data, { version }] = await this.#call('getData', path, ...[watcher].filter(Boolean));
    return { state: new KeyState(data), version };
  }

  /** Like `#read`, with the nodes that watch the key. */
  async #look(path) {
    const [found, [watchers]] = await Promise.all([this.#read(path), this.#call('getChildren', path)]);
    return { ...found, watchers };
  }

  #find = key =>
    this.#look(pathOf(key)).catch(except(Exception.NO_NODE, { state: new KeyState(), watchers: [] }));

  /** Runs operations of one key in order; again if another node was quicker, or the znode is missing. */
  #change(key, work) {
    const path = pathOf(key);
    const again = async ({ code }) => {
      if (code === Exception.NO_NODE) await this.#create(path);
      return code === Exception.NO_NODE || code === Exception.BAD_VERSION;
    };
    return this.#inOrder.do(key, () => this.retry(() => work(path), again));
  }

  /** Called when the data of a watched key has changed: reads it, watches again, and delivers what is new. */
  #changed = ({ path }) => {
    const key = path.slice(pathOf('').length);
    const deliver = async () => {
      if (this.closed || !this.#delivered.has(key)) return;
      const { state } = await this.#read(path, this.#changed);
      state.deliver(this.events, key, this.#delivered.get(key));
      this.#delivered.set(key, state.cursor);
    };
    this.#inOrder.do(key, deliver).catch(() => this.events.gap(key));
  };

  /** Opens a session, or waits for the one that it has: the client connects again by itself until that has expired. */
  async connect(signal) {
    this.#client ??= this.#open();
    const client = this.#client;
    signal.addEventListener('abort', () => client.connectionManager.socket?.destroy(new Error('given up')));
    if (client.getState() !== State.SYNC_CONNECTED) await once(client, 'connected', { signal });
    for (const path of [KEYS, NODES]) await this.#call('mkdirp', path);
  }

  #open() {
    const client = zookeeper.createClient(this.#options.servers, {
      sessionTimeout: SESSION_TIMEOUT,
      spinDelay: 250,
    });
    const { connectionManager: manager } = client;
    const { findNextServer } = manager;
    // it would connect again after it was closed
    manager.findNextServer = open => findNextServer.call(manager, server => this.closed || open(server));
    client.on('state', state => {
      if (state === State.SYNC_CONNECTED || client !== this.#client) return;
      this.lost(new Error(state.getName()));
      if (state === State.EXPIRED) this.#client = undefined;
    });
    client.connect();
    return client;
  }

  async heartbeat() {
    const path = `${NODES}/${this.#options.node}`;
    const info = Buffer.from(JSON.stringify(this.events.describe()));
    await this.#create(path, info, CreateMode.EPHEMERAL);
    await this.#call('setData', path, info);
    // once in a minute on average, and not all nodes at once
    if (Math.random() < HEARTBEAT / SWEEP) this.#sweep().catch(() => {});
  }

  /** The client's own `close` reads the answer to its request to connect as another answer, so it is for open sessions. */
  async leave() {
    if (this.#client?.getState() !== State.SYNC_CONNECTED) return;
    this.#client.close();
    await once(this.#client, 'disconnected');
  }

  /** Deletes keys that have expired and that no node watches. */
  async #sweep() {
    const [names] = await this.#call('getChildren', KEYS);
    for (const name of names) {
      const { state, version } = await this.#read(`${KEYS}/${name}`);
      // refused if it was set or watched in between
      if (state.cursor === '') await this.#call('remove', `${KEYS}/${name}`, version).catch(() => {});
    }
  }
}
