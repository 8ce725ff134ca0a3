/** Receipts: a set is answered when a page has proved, by its next poll, that it has taken the value. Never without. */
import { describe, expect, onTestFinished, test } from 'vitest';
import type { Receipt } from '../src/brokers/broker.js';
import { MemoryBroker } from '../src/brokers/memory.js';
import { RedisBroker } from '../src/brokers/redis/redis.js';
import { LongPoll } from '../src/hold/longpoll.js';
import { createTagwait } from '../src/index.js';
import { textOf } from '../src/protocol/answers.js';
import { newTicket } from '../src/protocol/ticket.js';
import type { Service } from '../src/service.js';
import { Random } from './chaos/random.js';
import { held, poll, type Reply, service as serviceOf, until } from './harness.js';
import { raw, request } from './raw.js';
import { redisServer } from './redis.js';
import { scrape } from './scrape.js';
import { stores } from './stores.js';
import { fakeConnections } from './twin/clients.js';
import { Clock } from './twin/clock.js';
import { Line, Server } from './twin/server.js';

const newKey = () => `k${Math.random().toString(36).slice(2)}`;

/** A call of the internal port. */
async function call(
  { internalUrl }: Service,
  path: string,
  fields: object,
): Promise<Record<string, unknown>> {
  const response = await fetch(`${internalUrl}${path}`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(fields),
  });
  return (await response.json()) as Record<string, unknown>;
}
const set = (service: Service, fields: object) => call(service, '/status/set', fields);

describe.each(stores)('over $name', store => {
  test('the next poll of the page proves it, whatever it is answered', async () => {
    const service = await serviceOf(await store.settings());
    const key = newKey();
    const first = poll(service.publicUrl, { key });
    await held(service.internalUrl, key, 1);
    const stored = set(service, { key, value: 1, receipt: 10 });
    const { cursor = '' } = await first;
    const second = poll(service.publicUrl, { key, since: cursor, hold: '0' });
    expect(await stored).toEqual({
      code: 0,
      message: 'success',
      cursor,
      watched: true,
      received: true,
    });
    expect(await second).toMatchObject({ code: -1 });
    const metrics = await scrape(service.internalUrl);
    const counted = (received: boolean) => metrics.get(`tagwait_receipts_total{received="${received}"}`);
    expect([counted(true), counted(false)]).toEqual([1, 0]);
  });

  test('the proof of one value is none of the next, which the page has not taken yet', async () => {
    const service = await serviceOf(await store.settings());
    const key = newKey();
    const one = set(service, { key, value: 1, receipt: 10 });
    let since = '';
    await until(async () => {
      const { cursor = '' } = await poll(service.publicUrl, { key, hold: '0' });
      since = cursor;
      return since !== '';
    });
    const two = set(service, { key, value: 2, receipt: 0.5 });
    await until(async () => (await poll(service.publicUrl, { key, hold: '0' })).data === 2);
    await poll(service.publicUrl, { key, since, hold: '0' });
    expect(await one).toMatchObject({ received: true });
    expect(await two).toMatchObject({ received: false });
  });

  test('a page that hears and asks no more proves nothing; a repeat waits again, and hears of a late proof at once', async () => {
    const service = await serviceOf(await store.settings());
    const key = newKey();
    const fields = { key, value: 1, receipt: 0.05, id: 'one' };
    const first = poll(service.publicUrl, { key });
    await held(service.internalUrl, key, 1);
    expect(await set(service, fields)).toMatchObject({ code: 0, received: false });
    const { cursor = '' } = await first;
    const again = set(service, { ...fields, receipt: 10 });
    const held2 = poll(service.publicUrl, { key, since: cursor, hold: '20' });
    expect(await again).toMatchObject({ repeated: true, received: true });
    expect(await set(service, { ...fields, receipt: 0 }), 'it is known now').toMatchObject({
      received: true,
    });
    await set(service, { key, value: 2 });
    expect(await held2).toMatchObject({ data: 2 });
  });

  test('a poll that is held already proves what a repeat asks for', async () => {
    const service = await serviceOf(await store.settings());
    const key = newKey();
    const { cursor } = await set(service, { key, value: 1, id: 'one' });
    const heard = await poll(service.publicUrl, { key });
    expect(heard.cursor).toBe(cursor);
    const waiting = poll(service.publicUrl, { key, since: heard.cursor as string });
    await held(service.internalUrl, key, 1);
    expect(await set(service, { key, value: 1, id: 'one', receipt: 10 })).toMatchObject({ received: true });
    await set(service, { key, value: 2 });
    await waiting;
  });

  test('a final value: the answer says that a receipt is wanted, and a poll that is answered -2 proves it', async () => {
    const secret = ['a-secret-of-thirty-two-characters'];
    const service = await serviceOf({ ...(await store.settings()), secret });
    const { key, proof } = newTicket(secret[0] as string, 60);
    const first = poll(service.publicUrl, { key, proof });
    await held(service.internalUrl, key, 1);
    const stored = set(service, { key, value: 1, final: true, receipt: 10 });
    const heard: Reply & { receipt?: boolean } = await first;
    expect([heard.final, heard.receipt]).toEqual([true, true]);
    const since = heard.cursor as string;
    // the cursor alone proves nothing
    expect(await poll(service.publicUrl, { key, since, proof: 'wrong' })).toMatchObject({ code: -5 });
    expect(await poll(service.publicUrl, { key, since, proof, hold: '0' })).toEqual({
      code: -2,
      message: 'expired',
    });
    expect(await stored).toMatchObject({ received: true });
    const backlog: Reply & { receipt?: boolean } = await poll(service.publicUrl, { key, proof });
    expect(backlog.final).toBe(true);
  });

  test('an event stream acknowledges nothing', async () => {
    const service = await serviceOf(await store.settings());
    const key = newKey();
    const leaving = new AbortController();
    onTestFinished(() => leaving.abort());
    const stream = await fetch(`${service.publicUrl}/status/events?key=${key}`, { signal: leaving.signal });
    const reader = (stream.body as ReadableStream<Uint8Array>).getReader();
    await held(service.internalUrl, key, 1);
    const stored = set(service, { key, value: 1, receipt: 0.2 });
    let text = '';
    while (!text.includes('data: 1')) text += new TextDecoder().decode((await reader.read()).value);
    expect(await stored).toMatchObject({ received: false });
  });

  test('a login is approved, and the page has heard of it', async () => {
    const secret = ['a-secret-of-thirty-two-characters'];
    const service = await serviceOf({ ...(await store.settings()), secret });
    const { key = '', proof = '' } = (await call(service, '/login/new', { visitor: 'v' })) as Record<
      string,
      string
    >;
    await call(service, '/login/scan', { key, phone: 'p' });
    const scanned = await poll(service.publicUrl, { key, proof });
    const approve = { key, phone: 'p', user: 1 };
    expect(await call(service, '/login/approve', { ...approve, receipt: 0.05 })).toEqual({
      code: 0,
      received: false,
    });
    const approved = await poll(service.publicUrl, { key, proof, since: scanned.cursor as string });
    const again = call(service, '/login/approve', { ...approve, receipt: 10 });
    await poll(service.publicUrl, { key, proof, since: approved.cursor as string });
    expect(await again).toEqual({ code: 0, received: true });
    expect(await call(service, '/login/approve', approve)).toEqual({ code: 0 });
  });
});

test('three nodes over Redis: set on one, heard on another, proved on the third', async () => {
  const settings = { redisUrl: (await redisServer()).url };
  const [a, b, c] = [await serviceOf(settings), await serviceOf(settings), await serviceOf(settings)];
  const key = newKey();
  const first = poll(b.publicUrl, { key });
  await held(b.internalUrl, key, 1);
  const stored = set(a, { key, value: 1, receipt: 10 });
  const { cursor = '' } = await first;
  await poll(c.publicUrl, { key, since: cursor, hold: '0' });
  expect(await stored).toMatchObject({ received: true });
});

test.each([
  ['10.1', 400],
  ['-1', 400],
  ['soon', 400],
  ['true', 400],
])('a receipt of %s is refused', async given => {
  const service = await serviceOf();
  const allowed = { code: 400, message: 'bad request', detail: 'receipt: give seconds from 0 to 10' };
  const receipt = given === 'true' ? true : given === 'soon' ? given : Number(given);
  expect(await set(service, { key: 'a', value: 1, receipt })).toEqual(allowed);
});

test('`null` counts as absent; a form gives it as text', async () => {
  const service = await serviceOf();
  expect(await set(service, { key: 'a', value: 1, receipt: null })).not.toHaveProperty('received');
  const form = await fetch(`${service.internalUrl}/status/set`, {
    method: 'POST',
    body: new URLSearchParams({ key: 'a', value: '1', receipt: '0.01' }),
  });
  expect(await form.json()).toMatchObject({ code: 0, received: false });
});

test('in a program: `set` and `login.approve` take seconds', async () => {
  const tagwait = await createTagwait({ secret: ['a-secret-of-thirty-two-characters'], logLevel: 'silent' });
  onTestFinished(() => tagwait.close());
  expect(await tagwait.set('a', 1, { receipt: 0.01 })).toMatchObject({ received: false });
  expect(await tagwait.set('a', 1)).not.toHaveProperty('received');
  await expect(tagwait.set('a', 1, { receipt: 11 })).rejects.toThrow('receipt: give seconds from 0 to 10');
  const { key } = await tagwait.login.new({ visitor: 'v' });
  await tagwait.login.scan({ key, phone: 'p' });
  const approve = { key, phone: 'p', user: 1 };
  expect(await tagwait.login.approve({ ...approve, receipt: 0.01 })).toEqual({ received: false });
  expect(await tagwait.login.approve(approve)).toEqual({});
  await expect(tagwait.login.approve({ ...approve, receipt: -1 })).rejects.toThrow('receipt: give seconds');
});

test('a node that stops answers the sets that wait', async () => {
  const service = await serviceOf();
  const stored = set(service, { key: 'a', value: 1, receipt: 10 });
  await until(async () => (await poll(service.publicUrl, { key: 'a', hold: '0' })).code === 0);
  await service.stop();
  expect(await stored).toMatchObject({ code: 0, received: false });
});

test('and one that drains, before it cuts what is connected', async () => {
  const service = await serviceOf({ drain: 1 });
  const page = raw(service.publicUrl, request('/status/get?key=b'));
  await held(service.internalUrl, 'b', 1);
  const stored = set(service, { key: 'a', value: 1, receipt: 10 });
  await until(async () => (await poll(service.publicUrl, { key: 'a', hold: '0' })).code === 0);
  await service.stop();
  expect(await stored).toMatchObject({ code: 0, received: false });
  await page.ended;
});

/** Nodes in virtual time, over one store, which is the embedded one when there is one node. */
async function inVirtualTime(
  nodes: number,
  run: (nodes: LongPoll[], clock: Clock, commands: string[], lines: Line[]) => Promise<void>,
): Promise<void> {
  const clock = new Clock();
  const random = new Random(1);
  clock.install(() => random.next());
  try {
    const server = new Server(7001);
    const commands: string[] = [];
    const lines = Array.from({ length: nodes }, () => new Line(random, 1));
    for (const line of lines)
      line.onReply = name =>
        void (/heartbeat|auth|subscribe$|exists|info/i.test(name) || commands.push(name));
    const longpolls = lines.map((line, at) => {
      const options = { store: { kind: 'server', url: 'redis://fake:7001' }, prefix: 't', wait: 0 } as const;
      const log = { info() {}, warn() {} };
      const broker =
        nodes === 1
          ? new MemoryBroker({ history: 4 })
          : new RedisBroker({ ...options, node: `n${at}`, history: 4, log }, () =>
              fakeConnections(line, [server], false),
            );
      return new LongPoll(broker, { id: `n${at}`, version: '0' });
    });
    for (const node of longpolls) void node.start();
    await clock.runUntil(1000);
    await run(longpolls, clock, commands, lines);
    for (const node of longpolls) void node.close();
  } finally {
    clock.uninstall();
  }
}

/** A poll that waits; its answers. */
function ask(node: LongPoll, since = '', hold = 20_000): Reply[] {
  const answers: Reply[] = [];
  node.get(
    { key: 'k', since, hold },
    { proves: true, answer: answer => void answers.push(JSON.parse(textOf(answer))) },
  );
  return answers;
}
/** A set, and its receipt once it is there. */
function sending(node: LongPoll, value: number, options: object = {}): { receipt?: Receipt } {
  const sent: { receipt?: Receipt } = {};
  node.set('k', value, { ttl: 600_000, ...options }).then(
    receipt => {
      sent.receipt = receipt;
    },
    () => {},
  );
  return sent;
}

test('a set without a receipt costs one command of Redis, one with a receipt one more', async () => {
  for (const [receipt, expected] of [
    [undefined, ['tagwaitSet']],
    [5000, ['tagwaitSet', 'tagwaitProve']],
  ] as const)
    await inVirtualTime(2, async ([a, b], clock, commands) => {
      const first = ask(b as LongPoll);
      await clock.runUntil(1100);
      commands.length = 0;
      const sent = sending(a as LongPoll, 1, receipt === undefined ? {} : { receipt });
      await clock.runUntil(1200);
      ask(b as LongPoll, first[0]?.cursor);
      await clock.runUntil(1300);
      expect(sent.receipt?.received).toBe(receipt === undefined ? undefined : true);
      expect(commands).toEqual(expected);
    });
});

test.each([1, 2])('%i nodes: a page that has lost the value does not prove it', async nodes => {
  await inVirtualTime(nodes, async (longpolls, clock) => {
    const [a, b = a] = longpolls as [LongPoll, LongPoll?];
    const sent = sending(a, 1, { receipt: 5000, id: 'one' });
    await clock.runUntil(1100);
    for (let value = 2; value <= 6; value++) sending(a, value);
    await clock.runUntil(1200);
    const heard = ask(b);
    await clock.runUntil(1300);
    expect(heard[0]).toMatchObject({ data: 6, lost: 2 });
    ask(b, heard[0]?.cursor);
    await clock.runUntil(8000);
    expect(sent.receipt?.received).toBe(false);
    const again = sending(a, 1, { receipt: 1000, id: 'one' });
    await clock.runUntil(10_000);
    expect(again.receipt).toMatchObject({ repeated: true, received: false });
  });
});

test('a poll that is answered `moved`, because its node drains, proves it too', async () => {
  await inVirtualTime(2, async ([a, b], clock) => {
    const [here, there] = [a as LongPoll, b as LongPoll];
    const heard = ask(there);
    await clock.runUntil(1100);
    const sent = sending(here, 1, { receipt: 5000 });
    await clock.runUntil(1200);
    there.drain(10_000);
    expect(ask(there, heard[0]?.cursor)[0]).toMatchObject({ code: -6 });
    await clock.runUntil(1300);
    expect(sent.receipt?.received).toBe(true);
  });
});

test('the proof gets lost on its way: it is not received, and a repeat finds the poll that is held', async () => {
  await inVirtualTime(2, async ([a, b], clock, _, lines) => {
    const heard = ask(b as LongPoll);
    await clock.runUntil(1100);
    const sent = sending(a as LongPoll, 1, { receipt: 3000, id: 'one' });
    await clock.runUntil(1200);
    lines[1]?.refusals.set('tagwaitProve', 'ERR refused');
    ask(b as LongPoll, heard[0]?.cursor);
    await clock.runUntil(5000);
    expect(sent.receipt).toMatchObject({ received: false });
    lines[1]?.refusals.clear();
    const again = sending(a as LongPoll, 1, { receipt: 3000, id: 'one' });
    await clock.runUntil(5100);
    expect(again.receipt).toMatchObject({ repeated: true, received: true });
  });
});

test('a store that knows of no receipts: every set is answered at once that nothing is known to be received', async () => {
  const broker = new MemoryBroker({ history: 4 });
  Object.defineProperty(broker, 'prove', { value: undefined });
  const longpoll = new LongPoll(broker, { id: 'n', version: '0' });
  await longpoll.start();
  onTestFinished(() => longpoll.close());
  expect(await longpoll.set('k', 1, { ttl: 1000, receipt: 10_000 })).toMatchObject({ received: false });
});

test('of more sets than may wait, the last are answered at once', async () => {
  await inVirtualTime(1, async (_, clock) => {
    const longpoll = new LongPoll(new MemoryBroker({ history: 4 }), {
      id: 'n',
      version: '0',
      maxReceipts: 2,
    });
    await longpoll.start();
    const sent = [1, 2, 3].map(value => sending(longpoll, value, { receipt: 5000 }));
    await clock.runUntil(1100);
    expect(sent.map(({ receipt }) => receipt?.received)).toEqual([undefined, undefined, false]);
    await clock.runUntil(7000);
    expect(sent.map(({ receipt }) => receipt?.received)).toEqual([false, false, false]);
    await longpoll.close();
  });
});
