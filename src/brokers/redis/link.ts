/**
 * The link to Redis: up while every server answers commands and the subscriber receives messages. It has one state,
 * which changes in `#lose` and `#restore` only.
 *
 *   connecting ──► subscribed ◄──► away          any state ──► closed
 */
import { Cluster, type Redis, type RedisOptions } from 'ioredis';
import type { Logger } from '../../log.js';
import { type Events, type StoreStatus, Unavailable, WrongStore } from '../broker.js';
import { decode } from '../messages.js';
import { HEARTBEAT_INTERVAL, type NodeChannel, Survey } from '../survey.js';
import { addressOf, type Connections, wordsOf } from './connections.js';
import { Heartbeats } from './heartbeats.js';
import { keepConnected } from './keep-connected.js';
import type { Keys } from './keys.js';
import { neverWorks } from './store.js';
import { Subscriber } from './subscriber.js';

/** How long `start` waits for Redis before the node runs without it, ms. */
const START_TIMEOUT = 3000;
/** How many different causes are logged while Redis is away, each once. */
const MAX_CAUSES = 10;
/** How long a closing node waits until its goodbye is sent, ms. */
const GOODBYE_TIMEOUT = 300;

type LinkState = 'connecting' | 'subscribed' | 'away' | 'closed';

export interface LinkOptions {
  connections: Connections;
  keys: Keys;
  node: string;
  log: Pick<Logger, 'info' | 'warn'>;
  events: Events;
  /** Called each time the state becomes `subscribed`. */
  onReady(): void;
}

export class Link implements NodeChannel {
  readonly survey: Survey;
  reconnects = 0;
  #state: LinkState = 'connecting';
  /** why the state is `away` */
  #cause: string | undefined;
  /** causes that were logged since the link was lost */
  readonly #logged = new Set<string>();
  readonly #options: LinkOptions;
  readonly #subscriber: Subscriber;
  readonly #heartbeats: Heartbeats;
  #timer: NodeJS.Timeout | undefined;
  /** settles `start` */
  #settleStart: (error?: Error) => void = () => {};

  constructor(options: LinkOptions) {
    const { connections, node, events } = options;
    this.#options = options;
    this.survey = new Survey(node, this, events);
    this.#subscriber = new Subscriber(connections.subscriber, [this.#channelOf(node), this.#all], {
      message: text => this.#receive(text),
      subscribed: () => this.#subscribed(),
      lost: cause => this.#lose(cause),
    });
    this.#heartbeats = new Heartbeats({
      ...options,
      survey: this.survey,
      channel: this.#all,
      arrivals: this.#subscriber,
      onSilence: () => this.#silence(),
      onServerLost: cause => this.#subscriber.reconnect(cause),
    });
  }

  /** Resolves when Redis works or is known to be away. @throws {WrongStore} Redis can never work with these settings */
  async start(): Promise<void> {
    const { client, clients } = this.#options.connections;
    const started = new Promise<void>((resolve, reject) => {
      this.#settleStart = error => (error ? reject(error) : resolve());
    });
    const timer = setTimeout(() => this.#lose(silence(client)), START_TIMEOUT);
    client.on('ready', () => void this.#heartbeat());
    for (const each of clients)
      keepConnected(each, {
        wanted: () => this.#state !== 'closed',
        failed: cause => this.#lose(cause),
        closed: cause => each === client && this.#disconnected(cause),
      });
    this.#subscriber.connect();
    this.#timer = setInterval(() => void this.#heartbeat(), HEARTBEAT_INTERVAL).unref();
    try {
      await started;
    } catch (error) {
      await this.close();
      throw error;
    } finally {
      clearTimeout(timer);
      // from now on a refusal is logged and the connection is tried again
      this.#settleStart = () => {};
    }
  }

  status(): StoreStatus {
    return { up: this.#state === 'subscribed', cause: this.#cause, reconnects: this.reconnects };
  }

  /** Whether messages arrive late, and none is known to be lost: the line is slow. */
  get late(): boolean {
    return this.#subscriber.subscribed && this.#heartbeats.late;
  }

  /** @throws {Unavailable} whatever went wrong */
  async do<T>(command: (client: Redis | Cluster) => Promise<T>): Promise<T> {
    try {
      return await command(this.#options.connections.client);
    } catch (error) {
      // while Redis is away, the cause of that says more than the error of this one command
      throw new Unavailable(`Redis: ${this.#cause ?? wordsOf(error as Error)}`);
    }
  }

  async broadcast(message: string): Promise<number | undefined> {
    const receivers = await this.do(client => client.publish(this.#all, message));
    // a Cluster server counts only the subscribers that are connected to itself
    return this.#options.connections.client instanceof Cluster ? undefined : receivers;
  }

  send(node: string, message: string): void {
    this.do(client => client.publish(this.#channelOf(node), message)).catch(() => {});
  }

  async close(): Promise<void> {
    const reachable = this.#state === 'subscribed';
    this.#state = 'closed';
    this.#settleStart();
    clearInterval(this.#timer);
    this.#heartbeats.stop();
    if (reachable) {
      const markers = this.#heartbeats.deleteMarkers();
      const goodbye = [this.broadcast(this.survey.goodbye()), ...markers];
      const timeout = new Promise(resolve => setTimeout(resolve, GOODBYE_TIMEOUT));
      await Promise.race([Promise.allSettled(goodbye), timeout]);
    }
    this.#subscriber.close();
    for (const client of this.#options.connections.clients) client.disconnect();
  }

  get #all(): string {
    return `${this.#options.keys.channels}all`;
  }
  #channelOf = (node: string) => `${this.#options.keys.channels}n:${node}`;

  #disconnected(cause: string): void {
    this.#heartbeats.fail(cause);
    // the same fault may have silenced the subscriber
    this.#subscriber.reconnect(cause);
    this.#lose(cause);
  }

  /**
   * The heartbeats are answered and do not come back: the subscriber hangs, or its server is cut off from the others.
   */
  #silence(): void {
    // it is subscribing again already
    if (this.#state === 'closed' || !this.#subscriber.subscribed) return;
    this.#options.log.warn('Redis delivers no messages: subscribing again');
    const cause = `${addressOf(this.#options.connections.subscriber)}: no messages are delivered`;
    this.#subscriber.reconnect(cause);
    this.#lose(this.#heartbeats.failure ?? cause);
  }

  /**
   * Something on the way to Redis failed. Does nothing while the link still works. @param cause one line, with the
   * address
   */
  #lose(cause: string): void {
    const refusal = neverWorks(cause);
    if (refusal) this.#settleStart(new WrongStore(refusal));
    if (!this.#subscriber.subscribed) this.survey.listening(false);
    if (this.#state === 'closed' || (this.#state === 'subscribed' && !this.#failure())) return;
    this.#state = 'away';
    this.#cause = cause;
    // while Redis is away the same few causes repeat
    if (this.#logged.size < MAX_CAUSES && !this.#logged.has(cause)) {
      this.#logged.add(cause);
      this.#options.log.warn({ cause }, 'Redis is away: held requests stay open, sets are refused');
    }
    this.#settleStart();
  }

  /** Every server has answered, and messages are received. */
  #restore(): void {
    const { log, events, onReady } = this.#options;
    const wasAway = this.#state === 'away';
    this.#state = 'subscribed';
    this.#cause = undefined;
    this.#logged.clear();
    if (wasAway) {
      this.reconnects++;
      log.info('Redis is back');
    }
    this.#settleStart();
    onReady();
    events.gap();
  }

  /**
   * Why the link does not work; undefined: it works. A server that does not answer comes first: because of it the
   * subscriber leaves a server that works.
   */
  #failure(): string | undefined {
    return this.#heartbeats.failure ?? this.#subscriber.failure;
  }

  #subscribed(): void {
    this.survey.listening(true);
    this.#heartbeats.resetEchoes();
    void this.#heartbeat();
  }

  async #heartbeat(): Promise<void> {
    if (this.#options.connections.client.status !== 'ready' || !this.#subscriber.subscribed) return;
    const missed = await this.#heartbeats.send();
    if (this.#state === 'closed') return;
    const failure = this.#failure();
    if (failure) this.#lose(failure);
    else if (this.#state !== 'subscribed') this.#restore();
    else if (missed) this.#options.events.gap();
  }

  #receive(text: string): void {
    const { node, events } = this.#options;
    const message = decode(text);
    this.survey.receive(message);
    if (message?.kind === 'heartbeat' && message.node === node) {
      if (this.#heartbeats.receive(message.server, message.count)) events.gap();
    }
  }
}

/** A server with TLS says nothing to a client without it. */
function silence(client: Redis | Cluster): string {
  const { tls, path, name } = client.options as RedisOptions;
  const mayBeTls = !(client instanceof Cluster) && !tls && !path && !name;
  return `${addressOf(client)}: no answer within ${START_TIMEOUT} ms${mayBeTls ? '; is it TLS (rediss://)?' : ''}`;
}
