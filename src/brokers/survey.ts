/** The messages between the nodes of a broker: entries, heartbeats, and surveys of what all nodes hold. */
import { randomBytes } from 'node:crypto';
import type { Events, NodeInfo } from './broker.js';
import { encode, type Message, type Reply } from './messages.js';

/** Interval of the heartbeats of a node, ms. */
export const HEARTBEAT_INTERVAL = 2000;
/** A node without a heartbeat for this long is dead, ms: three intervals, and 500 ms for a late one. */
export const DEAD_AFTER = 3 * HEARTBEAT_INTERVAL + 500;
/** This long after it began to listen, a node knows all others, ms: their greetings or next heartbeats have arrived. */
const GREETING_TIMEOUT = HEARTBEAT_INTERVAL + 500;
/** How long a survey waits for replies, ms. */
const REPLY_TIMEOUT = 700;

/** How a broker carries messages between nodes. */
export interface NodeChannel {
  /**
   * Sends to all nodes, including this one.
   * @returns the number of receivers; undefined: unknown, then the nodes count whose heartbeats arrive
   * @throws {Unavailable}
   */
  broadcast(message: string): Promise<number | undefined>;
  /** Sends to one node. A message that cannot be sent is dropped. */
  send(node: string, message: string): void;
}

/** A message about a node: whether it is alive, and what it holds. */
type News = Exclude<Message, { kind: 'entries' | 'gap' | 'receipt' | 'drop' }>;

/** A survey that waits for replies. */
interface PendingSurvey {
  expected: number;
  replies: Map<string, Reply>;
  done(): void;
}

/**
 * What a node knows of the others. Works for every broker whose nodes can send messages to each other: it gives each message
 * that arrives to `receive`.
 */
export class Survey {
  readonly #node: string;
  readonly #channel: NodeChannel;
  readonly #events: Events;
  /** the other nodes, and when the last message of each arrived, on the monotonic clock in ms */
  readonly #heardAt = new Map<string, number>();
  readonly #pending = new Map<string, PendingSurvey>();
  /**
   * when the newest message arrived; ages count from it, so that a node that was stopped does not take the others for
   * dead
   */
  #receivedAt = 0;
  #listeningSince = Number.POSITIVE_INFINITY;

  /** @param node the name of this node, without spaces */
  constructor(node: string, channel: NodeChannel, events: Events) {
    this.#node = node;
    this.#channel = channel;
    this.#events = events;
  }

  /** @param now true: messages are received from now on; false: they are not */
  listening(now: boolean): void {
    this.#listeningSince = now ? performance.now() : Number.POSITIVE_INFINITY;
  }

  /** Whether this node has listened for long enough to know all nodes that are alive. */
  isComplete(): boolean {
    return performance.now() - this.#listeningSince > GREETING_TIMEOUT;
  }

  /** The nodes that are alive, this one first. */
  alive(): string[] {
    for (const [node, heardAt] of this.#heardAt)
      if (this.#receivedAt - heardAt > DEAD_AFTER) this.#heardAt.delete(node);
    return [this.#node, ...this.#heardAt.keys()];
  }

  /**
   * The heartbeat message of this node, to be broadcast every 2 s. Not needed when `broadcast` returns a number.
   * @param server through which of the store's servers it is sent @param count its number; both are for the sender itself
   */
  heartbeat(server = '0', count = 0): string {
    return encode({ kind: 'heartbeat', node: this.#node, server, count });
  }

  /** The message of this node when it leaves, to be broadcast. */
  goodbye(): string {
    return encode({ kind: 'goodbye', node: this.#node });
  }

  /** Handles a message of another node, or of this one. @param message undefined: none of this version, ignored */
  receive(message: Message | undefined): void {
    if (!message) return;
    switch (message.kind) {
      case 'entries':
        for (const [key, entry] of message.entries) this.#events.entry(key, entry);
        return;
      case 'gap':
        return this.#events.gap(message.key);
      case 'receipt':
        return this.#events.receipt?.(message.key, message.position, message.state);
      case 'drop':
        return this.#events.drop(message.key, message.name, message.from);
      default:
        this.#receivedAt = performance.now();
        return this.#receiveNews(message);
    }
  }

  /** Handles a message about a node. */
  #receiveNews(message: News): void {
    switch (message.kind) {
      case 'heartbeat':
        return this.#onHeartbeat(message.node);
      case 'greeting':
        if (message.node !== this.#node) this.#heardAt.set(message.node, performance.now());
        return;
      case 'goodbye':
        this.#heardAt.delete(message.node);
        return;
      case 'survey':
        return this.#reply(message.node, message.id, message.key);
      case 'reply':
        return this.#onReply(message.id, message.reply);
    }
  }

  /**
   * Asks every node to describe itself and to count the requests that it holds for a key.
   * @returns the replies that arrived in time, this node's first @throws {Unavailable}
   */
  async ask(key = ''): Promise<Reply[]> {
    const id = randomBytes(6).toString('hex');
    const survey: PendingSurvey = { expected: Number.POSITIVE_INFINITY, replies: new Map(), done() {} };
    this.#pending.set(id, survey);
    try {
      const receivers = await this.#channel.broadcast(encode({ kind: 'survey', node: this.#node, id, key }));
      survey.expected = receivers ?? this.alive().length;
      if (survey.replies.size < survey.expected)
        await new Promise<void>(resolve => {
          const timer = setTimeout(resolve, REPLY_TIMEOUT);
          survey.done = () => {
            clearTimeout(timer);
            resolve();
          };
        });
    } finally {
      this.#pending.delete(id);
    }
    const own = { info: this.#events.describe(), held: this.#heldFor(key) };
    survey.replies.delete(this.#node);
    return [own, ...survey.replies.values()];
  }

  #onHeartbeat(node: string): void {
    if (node === this.#node) return;
    // without a greeting a new node would learn of this one only from its next heartbeat
    if (!this.#heardAt.has(node)) this.#channel.send(node, encode({ kind: 'greeting', node: this.#node }));
    this.#heardAt.set(node, performance.now());
  }

  #reply(to: string, id: string, key: string): void {
    const reply = { info: this.#events.describe(), held: this.#heldFor(key) };
    this.#channel.send(to, encode({ kind: 'reply', id, reply }));
  }

  #onReply(id: string, reply: Reply): void {
    const survey = this.#pending.get(id);
    if (!survey) return;
    survey.replies.set(reply.info.id, reply);
    if (survey.replies.size >= survey.expected) survey.done();
  }

  #heldFor(key: string): number {
    return key === '' ? 0 : this.#events.held(key);
  }
}

/** Requests held for a key by node, as `peek` returns them; nodes that hold none are left out. */
export function waitersIn(replies: readonly Reply[]): Record<string, number> {
  const waiters: Record<string, number> = {};
  for (const { info, held } of replies) if (held > 0) waiters[info.id] = held;
  return waiters;
}

/** The nodes that replied, as `nodes` returns them. */
export const nodesIn = (replies: readonly Reply[]): NodeInfo[] => replies.map(({ info }) => info);
