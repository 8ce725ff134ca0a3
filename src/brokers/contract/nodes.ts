/** What the checks share: nodes that are started and closed, and waiting for a condition. */
import assert from 'node:assert/strict';
import type { Broker, Entry, Events } from '../broker.js';

/**
 * Makes the broker of one node, not yet started. It keeps the newest HISTORY entries of a key. All brokers that one
 * function makes share a store.
 */
export type CreateBroker = (node: string) => Broker;

/** Entries that the brokers under test keep of a key. */
export const HISTORY = 4;

/** ms that a key is kept unless a check says otherwise */
export const TTL = 60_000;
/** ms within which what must come has come */
const SOON = 10_000;

/** A broker that was started, and what it delivered. */
export interface Node {
  broker: Broker;
  delivered: [key: string, entry: Entry][];
}

export interface Context {
  /** a key that no other check uses */
  key: string;
  /** Starts the broker of a node; it is closed when the check ends. */
  node(id?: string): Promise<Node>;
}

/** Checks by the promise that they hold a broker to. */
export type Checks = Record<string, (context: Context) => Promise<void>>;

export async function withNodes(create: CreateBroker, check: Checks[string]): Promise<void> {
  const started: Broker[] = [];
  const node = async (id = 'n1'): Promise<Node> => {
    const broker = create(id);
    const delivered: Node['delivered'] = [];
    const events: Events = {
      entry: (key, entry) => delivered.push([key, entry]),
      gap: () => {},
      held: () => 1,
      describe: () => ({ id, held: 1, version: '0', uptime: 0 }),
    };
    started.push(broker);
    await broker.start(events);
    await until(() => broker.status().up, 'the broker is up');
    return { broker, delivered };
  };
  try {
    await check({ key: `k${Math.random().toString(36).slice(2)}`, node });
  } finally {
    await Promise.all(started.map(broker => broker.close()));
  }
}

/** @throws {AssertionError} the condition did not come true within 10 s */
export async function until(condition: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const end = performance.now() + SOON;
  while (!(await condition())) {
    assert.ok(performance.now() < end, `not within ${SOON} ms: ${what}`);
    await new Promise(resolve => setTimeout(resolve, 10));
  }
}

export const values = (entries: readonly Pick<Entry, 'value'>[]) => entries.map(({ value }) => value);
export const valuesOf = ({ delivered }: Node) => values(delivered.map(([, entry]) => entry));
export const EMPTY = { entries: [], lost: 0, cursor: '', final: false };
