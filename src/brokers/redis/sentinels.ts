/**
 * Finds the Redis master through Sentinels, and reconnects to the new master after a failover.
 *
 * Replaces the connector of ioredis, which sends its password to every Sentinel or to none, reports errors without an
 * address, retries an unreachable Sentinel once a minute, and drops its connections at a failover of any master.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import type { Address } from './address.js';
import { cleanMessage } from './error-text.js';
import { Connector } from './stream.js';

export interface SentinelsOptions {
  at: readonly Address[];
  /** the name of the master */
  name: string;
  username: string;
  password: string;
  tls: boolean;
  /** the external address for each internal `host:port` in a Sentinel's reply */
  nat: Readonly<Record<string, Address>>;
  /** ms to wait after this many failures in a row */
  backoff(attempt: number): number;
}

/** Timeout for connecting to a Sentinel, and for its answer, ms. */
const SENTINEL_TIMEOUT = 1000;
/** How long to wait for the other Sentinels after the first answer, ms: the majority counts, one may be cut off. */
const MAJORITY_WAIT = 200;
/** Limit of known Sentinels: those in the settings and those that they name. */
const MAX_KNOWN = 16;

const textOf = ({ host, port }: Address) => `${host}:${port}`;

export class Sentinels {
  readonly #options: SentinelsOptions;
  readonly #known = new Map<string, Address>();
  /** connectors that are connected to the master, or connecting */
  readonly #followers = new Set<MasterConnector>();
  /** a client subscribed to each Sentinel's failover messages; empty without followers */
  readonly #watchers = new Map<string, Redis>();

  constructor(options: SentinelsOptions) {
    this.#options = options;
    for (const address of options.at) this.#known.set(textOf(address), address);
  }

  /** The connector class for the `Connector` option of an ioredis client. */
  get connector(): new (
    options: unknown,
  ) => MasterConnector {
    const sentinels = this;
    return class extends MasterConnector {
      constructor(options: unknown) {
        super(sentinels, options);
      }
    };
  }

  /** ms to wait after this many failures in a row */
  backoff(attempt: number): number {
    return this.#options.backoff(attempt);
  }

  /** The address that most Sentinels name. @throws {Error} no Sentinel names one; the message has a cause for each */
  async master(): Promise<Address> {
    const named: Address[] = [];
    const causes: string[] = [];
    const asked = [...this.#known.values()].map(async (sentinel, index) => {
      try {
        named.push(await this.#ask(sentinel));
      } catch (error) {
        // in the order of the settings, not of the answers: another text is logged as another cause
        causes[index] = `${textOf(sentinel)}: ${(error as Error).message}`;
        throw error;
      }
    });
    await Promise.any(asked).catch(() => {});
    await Promise.race([Promise.allSettled(asked), sleep(MAJORITY_WAIT)]);
    const votes = (address: Address) => named.filter(other => textOf(other) === textOf(address)).length;
    const [most] = named.toSorted((one, other) => votes(other) - votes(one));
    if (!most) throw new Error(`no Sentinel names the master: ${causes.join('; ')}`);
    return most;
  }

  follow(connector: MasterConnector): void {
    this.#followers.add(connector);
    for (const sentinel of this.#known.values()) this.#watch(sentinel);
  }

  leave(connector: MasterConnector): void {
    this.#followers.delete(connector);
    if (this.#followers.size > 0) return;
    for (const watcher of this.#watchers.values()) watcher.disconnect();
    this.#watchers.clear();
  }

  #client(sentinel: Address): Redis {
    return new Redis({
      ...sentinel,
      ...(this.#options.tls ? { tls: {}, Connector } : {}),
      protocol: 2,
      lazyConnect: true,
      enableReadyCheck: false,
      enableOfflineQueue: false,
      autoResubscribe: false,
      disableClientInfo: true,
      maxRetriesPerRequest: 0,
      connectTimeout: SENTINEL_TIMEOUT,
      commandTimeout: SENTINEL_TIMEOUT,
      retryStrategy: null,
    });
  }

  async #ask(sentinel: Address): Promise<Address> {
    const client = this.#client(sentinel);
    let cause: Error | undefined;
    client.on('error', cleanMessage);
    client.on('error', error => {
      cause ??= error;
    });
    try {
      await client.connect();
      const reply = await this.#asUser(client, () =>
        client.call('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', this.#options.name),
      );
      if (!Array.isArray(reply)) throw new Error(`knows no master of the name ${this.#options.name}`);
      return this.#external({ host: String(reply[0]), port: Number(reply[1]) });
    } catch (error) {
      throw cause ?? error;
    } finally {
      client.disconnect();
    }
  }

  /** Authenticates only if the Sentinel demands it: with Redis's user and password, then with the password alone. */
  async #asUser<T>(client: Redis, command: () => Promise<T>): Promise<T> {
    try {
      return await command();
    } catch (error) {
      const { username, password } = this.#options;
      if (!password || !/NOAUTH|NOPERM/.test((error as Error).message)) throw error;
      if (username && (await client.auth(username, password).catch(() => ''))) return command();
      await client.auth(password);
      return command();
    }
  }

  /** Subscribes to the failover messages of one Sentinel. */
  #watch(sentinel: Address): void {
    const text = textOf(sentinel);
    if (this.#watchers.has(text)) return;
    const client = this.#client(sentinel);
    this.#watchers.set(text, client);
    Object.assign(client.options, { retryStrategy: this.#options.backoff });
    client.on('error', () => {});
    client.on('ready', async () => {
      try {
        await this.#asUser(client, () => client.call('PING'));
        await this.#learn(client);
        await client.subscribe('+switch-master');
      } catch {
        // the next connection tries again; `master()` reports the cause
        setTimeout(() => client.disconnect(true), SENTINEL_TIMEOUT).unref();
      }
    });
    client.on('message', (_, message: string) => {
      const [name, , , host = '', port] = message.split(' ');
      if (name === this.#options.name) this.#switch(this.#external({ host, port: Number(port) }));
    });
    client.connect().catch(() => {});
  }

  /** Asks a Sentinel for the other Sentinels, and subscribes to those too. */
  async #learn(client: Redis): Promise<void> {
    const others = (await client.call('SENTINEL', 'SENTINELS', this.#options.name)) as string[][];
    for (const fields of others) {
      const field = (name: string) => fields[fields.indexOf(name) + 1] ?? '';
      const address = this.#external({ host: field('ip'), port: Number(field('port')) });
      if (this.#known.has(textOf(address)) || this.#known.size >= MAX_KNOWN) continue;
      this.#known.set(textOf(address), address);
      if (this.#followers.size > 0) this.#watch(address);
    }
  }

  /** A failover: drops the connections to any other server. */
  #switch(master: Address): void {
    for (const connector of this.#followers)
      if (connector.at && connector.at !== textOf(master)) connector.drop();
  }

  #external(address: Address): Address {
    return { ...(this.#options.nat[textOf(address)] ?? address) };
  }
}

/**
 * The connector of one client: connects to the master, and keeps `host` and `port` of the client's options up to date.
 */
class MasterConnector extends Connector {
  readonly #sentinels: Sentinels;

  constructor(sentinels: Sentinels, options: unknown) {
    super(options);
    this.#sentinels = sentinels;
  }

  /** `host:port` of the server, once it is known */
  get at(): string | undefined {
    const { host, port } = this.options;
    return host ? `${host}:${port}` : undefined;
  }

  override async connect(emit: (event: string, error: Error) => void) {
    this.connecting = true;
    this.#sentinels.follow(this);
    Object.assign(this.options, { host: '' });
    Object.assign(this.options, await this.#find(emit));
    return this.opened();
  }

  async #find(emit: (event: string, error: Error) => void): Promise<Address> {
    for (let attempt = 1; this.connecting; attempt++) {
      try {
        const master = await this.#sentinels.master();
        if (this.connecting) return master;
      } catch (error) {
        emit('error', error as Error);
        await sleep(this.#sentinels.backoff(attempt));
      }
    }
    throw new Error('Connection is closed.');
  }

  /** Drops the connection to a server that is no longer the master. The client then reconnects. */
  drop(): void {
    super.disconnect();
  }

  override disconnect(): void {
    this.#sentinels.leave(this);
    super.disconnect();
  }
}
