/**
 * Asks the Sentinels which server is the master, and follows it.
 *
 * ioredis has a connector for this. It offers its password to every Sentinel or to none, reports no address with a
 * cause, tries a Sentinel that was away once a minute, and drops its connections at a failover of any master.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import type { Address } from './address.js';
import { Connector } from './stream.js';

export interface SentinelsOptions {
  at: readonly Address[];
  /** the name of the master */
  name: string;
  username: string;
  password: string;
  tls: boolean;
  /** where `host:port` of a Sentinel's reply is reached */
  nat: Readonly<Record<string, Address>>;
  /** ms to wait after so many failures in a row */
  backoff(attempt: number): number;
}

/** How long a Sentinel may take to connect, and to answer, ms. */
const PATIENCE = 1000;
/** After the first answer, the others have this long, ms: most of them are right, one alone may have been cut off. */
const OTHERS = 200;
/** Sentinels remembered: those in the settings, and those that they name. */
const MAX_KNOWN = 16;

const textOf = ({ host, port }: Address) => `${host}:${port}`;

export class Sentinels {
  readonly #options: SentinelsOptions;
  readonly #known = new Map<string, Address>();
  /** connectors that follow the master now */
  readonly #followers = new Set<MasterConnector>();
  /** a subscription to each Sentinel's messages, while there are followers */
  readonly #watchers = new Map<string, Redis>();

  constructor(options: SentinelsOptions) {
    this.#options = options;
    for (const address of options.at) this.#known.set(textOf(address), address);
  }

  /** For the `Connector` of a client. */
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

  /** ms to wait after so many failures in a row */
  backoff(attempt: number): number {
    return this.#options.backoff(attempt);
  }

  /** The server that most Sentinels name. @throws {Error} none names one; the message has a cause for each */
  async master(): Promise<Address> {
    const named: Address[] = [];
    const causes: string[] = [];
    const asked = [...this.#known.values()].map(async sentinel => {
      try {
        named.push(await this.#ask(sentinel));
      } catch (error) {
        causes.push(`${textOf(sentinel)}: ${(error as Error).message}`);
        throw error;
      }
    });
    await Promise.any(asked).catch(() => {});
    await Promise.race([Promise.allSettled(asked), sleep(OTHERS)]);
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
      connectTimeout: PATIENCE,
      commandTimeout: PATIENCE,
      retryStrategy: null,
    });
  }

  async #ask(sentinel: Address): Promise<Address> {
    const client = this.#client(sentinel);
    let cause: Error | undefined;
    client.on('error', error => {
      cause ??= error;
    });
    try {
      await client.connect();
      const reply = await this.#asUser(client, () =>
        client.call('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', this.#options.name),
      );
      if (!Array.isArray(reply)) throw new Error(`knows no master of the name ${this.#options.name}`);
      return this.#reached({ host: String(reply[0]), port: Number(reply[1]) });
    } catch (error) {
      throw cause ?? error;
    } finally {
      client.disconnect();
    }
  }

  /** Offers the password to a Sentinel that wants one: some have Redis's user, some a password alone, and many none. */
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

  /** Hears of failovers from one Sentinel. */
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
        // it is tried again with the next connection; asking for the master reports the cause
        setTimeout(() => client.disconnect(true), PATIENCE).unref();
      }
    });
    client.on('message', (_, message: string) => {
      const [name, , , host = '', port] = message.split(' ');
      if (name === this.#options.name) this.#switch(this.#reached({ host, port: Number(port) }));
    });
    client.connect().catch(() => {});
  }

  /** Learns of the other Sentinels, and of a failover while this one was not heard. */
  async #learn(client: Redis): Promise<void> {
    const others = (await client.call('SENTINEL', 'SENTINELS', this.#options.name)) as string[][];
    for (const fields of others) {
      const field = (name: string) => fields[fields.indexOf(name) + 1] ?? '';
      const address = this.#reached({ host: field('ip'), port: Number(field('port')) });
      if (this.#known.has(textOf(address)) || this.#known.size >= MAX_KNOWN) continue;
      this.#known.set(textOf(address), address);
      if (this.#followers.size > 0) this.#watch(address);
    }
  }

  #switch(master: Address): void {
    for (const connector of this.#followers)
      if (connector.at && connector.at !== textOf(master)) connector.drop();
  }

  #reached(address: Address): Address {
    return { ...(this.#options.nat[textOf(address)] ?? address) };
  }
}

/** Connects a client to the master, and again after a failover. Keeps `host` and `port` of its options up to date. */
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

  /** Leaves the server, which is not the master any more. */
  drop(): void {
    super.disconnect();
  }

  override disconnect(): void {
    this.#sentinels.leave(this);
    super.disconnect();
  }
}
