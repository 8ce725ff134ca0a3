/**
 * Every way to hear, at the same time: clients of all kinds watch the same keys over two nodes that are restarted, and hear
 * the same values in the same order. WAYS_SEED repeats a run.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { until } from './harness.js';
import { redisServer } from './redis.js';
import { scrape } from './scrape.js';
import { balancer } from './ways/balancer.js';
import { polls, sockets, streams, subscriptions } from './ways/clients.js';
import type { Heard, Log } from './ways/log.js';
import { type Node, startNode, store } from './ways/nodes.js';
import { openPage } from './ways/page.js';
import { type Plan, type PlannedSet, planOf } from './ways/plan.js';
import { scripts, severalKeys } from './ways/window.js';

const { WAYS_SEED = String(Math.floor(Math.random() * 1_000_000)) } = process.env;
/** Keys that the Chromium page watches by a poll each. */
const IN_CHROMIUM = 20;
/** s that a set waits for a receipt: longer than a client takes to come back after a restart */
const RECEIPT = 10;
/** ms that a proof takes, at most, from a client's handlers to the answer of the set, while no node is away */
const PROOF = 7000;
/** ms: on an idle machine a run takes a tenth of it */
const PATIENT = 120_000;

async function twoNodes() {
  const settings = {
    TAGWAIT_REDIS_URL: (await redisServer()).url,
    TAGWAIT_HISTORY: '64',
    TAGWAIT_DRAIN: '2',
    // all clients have one address
    TAGWAIT_MAX_POLLS_PER_IP: '0',
    TAGWAIT_MAX_HELD_PER_IP: '0',
  };
  const nodes = await Promise.all([startNode(settings), startNode(settings)]);
  const port = await balancer(nodes.map(({ publicPort }) => publicPort));
  return { nodes, port, url: `http://127.0.0.1:${port}` };
}

/** A set that has waited for a receipt. */
interface Receipt {
  set: PlannedSet;
  received: boolean;
  /** unix ms: when it was sent, and answered */
  sent: number;
  answered: number;
}

/** Sets all values while the nodes are restarted. @returns the receipts, and when nodes were away, in unix ms */
async function play({ backends, restarts }: Plan, nodes: readonly Node[]) {
  const receipts: Receipt[] = [];
  const away: { from: number; to: number }[] = [];
  let sets = 0;
  const setAll = async (mine: readonly PlannedSet[], number: number) => {
    for (const set of mine) {
      const { key, value, final, id } = set;
      await pause(set.pause);
      await until(() => away.length >= set.after, { within: PATIENT, every: 50 });
      const sent = Date.now();
      const order = sets % 2 === number % 2 ? nodes : nodes.toReversed();
      const wait = set.receipt ? { receipt: RECEIPT } : {};
      const { received } = await store(order, { key, value, final, id, ...wait });
      sets++;
      if (received !== undefined) receipts.push({ set, received, sent, answered: Date.now() });
    }
  };
  const restartAll = async () => {
    for (const { node, signal, after } of restarts) {
      await until(() => sets >= after, { within: PATIENT });
      const one = { from: Date.now(), to: Number.POSITIVE_INFINITY };
      away.push(one);
      // 1: a busy machine took more than its drain
      expect(signal === 'SIGTERM' ? [0, 1] : [signal]).toContain(await nodes[node]?.restart(signal));
      one.to = Date.now();
    }
  };
  await Promise.all([restartAll(), ...backends.map(setAll)]);
  return { receipts, away };
}

/** What a client with these keys should have heard. */
const expectedOf = (values: readonly unknown[]): Omit<Heard, 'at'>[] =>
  values.map((value, index) => ({ value, lost: 0, final: index === values.length - 1 }));

test(`six kinds of clients hear the same of 200 keys while nodes are drained and killed, seed ${WAYS_SEED}`, {
  timeout: 3 * PATIENT,
}, async () => {
  const plan = planOf(Number(WAYS_SEED));
  const { keys, values } = plan;
  const { nodes, port, url } = await twoNodes();
  const inChromium = keys.slice(0, IN_CHROMIUM);
  const page = await openPage(port, inChromium, inChromium);
  const ways: Record<string, { log: Log; keys: readonly string[] }> = {
    'script, in Chromium': { log: page.single, keys: inChromium },
    'several keys, in Chromium': { log: page.several, keys: inChromium },
    script: { log: scripts(url, keys), keys },
    'several keys': { log: severalKeys(url, keys), keys },
    JSON: { log: polls(url, keys), keys },
    subscribe: { log: subscriptions(url, keys), keys },
    stream: { log: streams(url, keys), keys },
    socket: { log: sockets(url, keys), keys },
  };
  const open = () =>
    Object.entries(ways).flatMap(([way, { log, keys }]) => {
      const left = keys.filter(key => !log.isOver(key));
      return left.length > 0 ? [{ way, left, faults: log.faults }] : [];
    });
  const { receipts, away } = await play(plan, nodes);
  await until(
    async () => {
      await page.read();
      return open().length === 0;
    },
    { every: 50, seen: open, within: PATIENT },
  );
  for (const [way, { log, keys }] of Object.entries(ways)) {
    expect(log.faults, way).toEqual([]);
    for (const key of keys)
      expect(
        log.of(key).map(({ at, ...heard }) => heard),
        `${way}: ${key}`,
      ).toEqual(expectedOf(values.get(key) ?? []));
  }

  // streams and sockets prove nothing
  const proving = Object.entries(ways).filter(([way]) => way !== 'stream' && way !== 'socket');
  const firstHeard = ({ key, id }: PlannedSet) =>
    Math.min(...proving.map(([, { log }]) => log.of(key)[Number(id.slice(key.length + 1))]?.at ?? Infinity));
  for (const { set, received, sent, answered } of receipts) {
    const heard = firstHeard(set);
    if (received) expect(heard, `${set.id} was heard before it was proved`).toBeLessThanOrEqual(answered);
    else if (heard < answered - PROOF)
      expect(
        away.some(({ from, to }) => from <= answered && sent <= to + PROOF),
        `${set.id}: it was heard, no node was away, and no receipt came`,
      ).toBe(true);
  }
  expect(receipts.filter(({ received }) => received).length).toBeGreaterThan(receipts.length / 2);
});

test('subscribe: the node that holds its stream is killed, twice: nothing is lost, and nothing comes twice', async () => {
  const { nodes, url } = await twoNodes();
  const key = 'killed';
  const log = subscriptions(url, [key]);
  const expected: number[] = [];
  const put = async (on: Node) => {
    expected.push(expected.length);
    await store([on], { key, value: expected.length - 1, id: `killed-${expected.length}` });
  };
  const heard = () => log.of(key).map(({ value }) => value);
  const heldBy = async ({ internalUrl }: Node) => (await scrape(internalUrl)).get('tagwait_held');
  const holder = () => until(async () => (await Promise.all(nodes.map(heldBy))).indexOf(1) + 1);
  for (let kills = 0; kills < 2; kills++) {
    const at = (await holder()) - 1;
    const other = nodes[1 - at] as Node;
    await put(other);
    await put(other);
    const restarted = nodes[at]?.restart('SIGKILL');
    for (let count = 0; count < 3; count++) await put(other);
    await until(() => heard().length === expected.length, { seen: heard });
    expect(await restarted).toBe('SIGKILL');
  }
  expect(heard()).toEqual(expected);
  expect(log.of(key).every(({ lost }) => lost === 0)).toBe(true);
});
