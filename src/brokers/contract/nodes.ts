/** Helpers of the checks: start and close nodes, wait for a condition. */
import assert from 'node:assert/strict';
import type { Broker, Entry, Events } from '../broker.js';

/**
 * Creates the broker of one node, not started, with a history of HISTORY entries. All brokers it creates share one
 * store.
 */
export type CreateBroker = (node: string) => Broker;

/** Entries per key that the brokers under test must keep. */
export const HISTORY = 4;

/** Time to live of a key in most checks, ms. */
export const TTL = 60_000;
/** How long `until` waits, ms. */
const TIMEOUT = 10_000;

/** A started broker, the entries that it delivered, and the keys of which it reported a gap ('': all keys). */
export interface Node {
  broker: Broker;
  gaps: string[];
  delivered: [key: string, entry: Entry][];
  /** what `receipt` was called with: "wanted" or "proved", and the position */
  receipts: string[];
}

export interface Context {
  /** a key that no other check uses */
  key: string;
  /** Starts the broker of a node. It is closed after the check. */
  node(id?: string): Promise<Node>;
}

/** Checks by the guarantee that they test. */
export type Checks = Record<string, (context: Context) => Promise<void>>;

export async function withNodes(create: CreateBroker, check: Checks[string]): Promise<void> {
  const started: Broker[] = [];
  const key = `k${Math.random().toString(36).slice(2)}`;
  const node = async (id = 'n1'): Promise<Node> => {
    const broker = create(id);
    const delivered: Node['delivered'] = [];
    const receipts: string[] = [];
    const gaps: string[] = [];
    const events: Events = {
      // an entry for the node of the check before, which had the same id, may still be on its way
      entry: (of, entry) => of.startsWith(key) && delivered.push([of, entry]),
      gap: (of = '') => gaps.push(of),
      held: () => 1,
      drop() {},
      receipt: (of, position, state) => of.startsWith(key) && receipts.push(`${state} ${position}`),
      describe: () => ({ id, held: 1, version: '0', uptime: 0 }),
    };
    started.push(broker);
    await broker.start(events);
    await until(() => broker.status().up, 'the broker is up');
    return { broker, delivered, gaps, receipts };
  };
  try {
    await check({ key, node });
  } finally {
    await Promise.all(started.map(broker => broker.close()));
  }
}

/** Waits for a condition. @throws {AssertionError} it is still false after 10 s */
export async function until(condition: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const end = performance.now() + TIMEOUT;
  while (!(await condition())) {
    assert.ok(performance.now() < end, `not within ${TIMEOUT} ms: ${what}`);
    await new Promise(resolve => setTimeout(resolve, 10));
  }
}

export const values = (entries: readonly Pick<Entry, 'value'>[]) => entries.map(({ value }) => value);
export const valuesOf = ({ delivered }: Node) => values(delivered.map(([, entry]) => entry));
export const EMPTY = { entries: [], lost: 0, cursor: '', final: false };
