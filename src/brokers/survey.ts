/** The nodes of a deployment: which of them live, and what they hold. For every broker whose nodes can send messages. */
import { randomBytes } from 'node:crypto';
import type { Events, NodeInfo } from './broker.js';
import { encode, type Message, type Reply } from './messages.js';

/** How often a node says that it lives, ms. */
export const HEARTBEAT = 2000;
/** A node that was not heard for so long is dead, ms: three heartbeats, and a moment for the last. */
export const DEAD = 3 * HEARTBEAT + 500;
/** How long after its first heartbeat a node has the greetings of all others, ms: one may be lost, not two. */
const ACQUAINTED = HEARTBEAT + 500;
/** How long nodes have to reply to a survey, ms. */
const PATIENCE = 700;

/** How a broker carries messages between nodes. */
export interface NodeChannel {
  /** To all nodes, this one too. @returns how many receive it; undefined: not known @throws {Unavailable} */
  broadcast(message: string): Promise<number | undefined>;
  /** To one node; a message that cannot be sent is lost. */
  send(node: string, message: string): void;
}

/** A survey under way. */
interface Running {
  expected: number;
  replies: Map<string, Reply>;
  done(): void;
}

export class Survey {
  readonly #node: string;
  readonly #channel: NodeChannel;
  readonly #events: Pick<Events, 'held' | 'describe'>;
  /** the other nodes, and when each was last heard, on the monotonic clock in ms */
  readonly #heardAt = new Map<string, number>();
  readonly #running = new Map<string, Running>();
  /** when the latest message came, on the monotonic clock in ms; a node that was stopped for a while declares nobody dead */
  #receivedAt = 0;
  #listeningSince = Number.POSITIVE_INFINITY;

  constructor(node: string, channel: NodeChannel, events: Pick<Events, 'held' | 'describe'>) {
    this.#node = node;
    this.#channel = channel;
    this.#events = events;
  }

  /** @param now whether messages are received from now on */
  listening(now: boolean): void {
    this.#listeningSince = now ? performance.now() : Number.POSITIVE_INFINITY;
  }

  /** Whether it has listened for long enough that a node it did not hear is dead. */
  knowsAll(): boolean {
    return performance.now() - this.#listeningSince > ACQUAINTED;
  }

  /** The nodes that were heard lately, this one first. */
  living(): string[] {
    for (const [node, heardAt] of this.#heardAt)
      if (this.#receivedAt - heardAt > DEAD) this.#heardAt.delete(node);
    return [this.#node, ...this.#heardAt.keys()];
  }

  /** The message that says that this node lives. */
  heartbeat(server: string, count: number): string {
    return encode({ kind: 'heartbeat', node: this.#node, server, count });
  }

  goodbye(): string {
    return encode({ kind: 'goodbye', node: this.#node });
  }

  /** Takes in a message; those of other kinds are left to the broker. */
  receive(message: Message): void {
    this.#receivedAt = performance.now();
    switch (message.kind) {
      case 'heartbeat':
        return this.#meet(message.node);
      case 'greeting':
        if (message.node !== this.#node) this.#heardAt.set(message.node, performance.now());
        return;
      case 'goodbye':
        this.#heardAt.delete(message.node);
        return;
      case 'survey':
        return this.#reply(message.node, message.id, message.key);
      case 'reply':
        return this.#take(message.id, message.reply);
    }
  }

  /** What every node says of itself, this one first, and how many requests each holds for a key. @throws {Unavailable} */
  async ask(key = ''): Promise<Reply[]> {
    const id = randomBytes(6).toString('hex');
    const survey: Running = { expected: Number.POSITIVE_INFINITY, replies: new Map(), done() {} };
    this.#running.set(id, survey);
    try {
      const receivers = await this.#channel.broadcast(encode({ kind: 'survey', node: this.#node, id, key }));
      survey.expected = receivers ?? this.living().length;
      if (survey.replies.size < survey.expected)
        await new Promise<void>(resolve => {
          const timer = setTimeout(resolve, PATIENCE);
          survey.done = () => {
            clearTimeout(timer);
            resolve();
          };
        });
    } finally {
      this.#running.delete(id);
    }
    const own = { info: this.#events.describe(), held: this.#heldFor(key) };
    survey.replies.delete(this.#node);
    return [own, ...survey.replies.values()];
  }

  #meet(node: string): void {
    if (node === this.#node) return;
    // a node that has just started does not know the others until their next heartbeats
    if (!this.#heardAt.has(node)) this.#channel.send(node, encode({ kind: 'greeting', node: this.#node }));
    this.#heardAt.set(node, performance.now());
  }

  #reply(to: string, id: string, key: string): void {
    const reply = { info: this.#events.describe(), held: this.#heldFor(key) };
    this.#channel.send(to, encode({ kind: 'reply', id, reply }));
  }

  #take(id: string, reply: Reply): void {
    const survey = this.#running.get(id);
    if (!survey) return;
    survey.replies.set(reply.info.id, reply);
    if (survey.replies.size >= survey.expected) survey.done();
  }

  #heldFor(key: string): number {
    return key === '' ? 0 : this.#events.held(key);
  }
}

/** Who waits for a key, as a peek shows it. */
export function waitersIn(replies: readonly Reply[]): Record<string, number> {
  const waiters: Record<string, number> = {};
  for (const { info, held } of replies) if (held > 0) waiters[info.id] = held;
  return waiters;
}

export const nodesIn = (replies: readonly Reply[]): NodeInfo[] => replies.map(({ info }) => info);
