/** A session with ZooKeeper: opened again when it has expired, with calls that return promises and have a time limit. */
import zookeeper from 'node-zookeeper-client';
import { Unavailable } from 'tagwait';

const { SYNC_CONNECTED, EXPIRED } = zookeeper.State;
/** ms */
const TIMEOUT = 4000;
const SESSION_TIMEOUT = 6000;

export class Session {
  status = { up: false, reconnects: 0 };
  #servers;
  #onConnected;
  #client;
  #closed = false;

  /** @param onConnected called each time the session works; the status is `up` when it has resolved */
  constructor(servers, onConnected) {
    this.#servers = servers;
    this.#onConnected = onConnected;
  }

  /** Resolves when the session works, and after a time when it does not: it goes on trying. */
  start() {
    return Promise.race([this.#connect(), new Promise(done => setTimeout(done, TIMEOUT).unref())]);
  }

  #connect() {
    const client = zookeeper.createClient(this.#servers, { sessionTimeout: SESSION_TIMEOUT, spinDelay: 250 });
    this.#client = client;
    return new Promise(done => {
      client.on('state', async state => {
        if (client !== this.#client) return;
        if (this.#closed) return client.connectionManager.socket?.destroy();
        if (state === EXPIRED) return done(this.#connect());
        if (state !== SYNC_CONNECTED) {
          this.status = { ...this.status, up: false, cause: `ZooKeeper: ${state.getName()}` };
          return;
        }
        await this.#onConnected();
        const { cause, reconnects } = this.status;
        this.status = { up: true, reconnects: cause === undefined ? reconnects : reconnects + 1 };
        done();
      });
      client.connect();
    });
  }

  /** @returns what the callback of this method of the client gets @throws its error, or Unavailable after a time */
  call(method, ...given) {
    return new Promise((done, fail) => {
      const timer = setTimeout(() => fail(new Unavailable('ZooKeeper: no answer')), TIMEOUT);
      this.#client[method](...given, (error, ...results) => {
        clearTimeout(timer);
        if (error) fail(error);
        else done(results);
      });
    });
  }

  /** Gives up a connection on which nothing is answered. The client connects again by itself. */
  reconnect() {
    if (this.status.up) this.status = { ...this.status, up: false, cause: 'ZooKeeper: no answer' };
    this.#client.connectionManager.socket?.destroy();
  }

  /** The client's own `close` reads the answer to its request to connect as another answer, so it is for open sessions. */
  async close() {
    this.#closed = true;
    const client = this.#client;
    const { connectionManager } = client;
    connectionManager.connect = () => {};
    if (client.getState() === SYNC_CONNECTED) {
      const ended = new Promise(done => client.once('disconnected', done));
      client.close();
      await Promise.race([ended, new Promise(done => setTimeout(done, 500))]);
    }
    clearTimeout(connectionManager.connectTimeoutHandler);
    connectionManager.socket?.destroy();
  }
}

/** @throws {Unavailable} */
export function unavailable(error) {
  throw error instanceof Unavailable ? error : new Unavailable(`ZooKeeper: ${error.message}`);
}
