/** Several keys on one poll: one held request hears all of them, as one poll for each key would. */
import { describe, expect, test } from 'vitest';
import { MemoryBroker } from '../src/brokers/memory.js';
import { RedisBroker } from '../src/brokers/redis/redis.js';
import { LongPoll } from '../src/hold/longpoll.js';
import { SeveralKeys } from '../src/hold/several.js';
import { type Answer, textOf } from '../src/protocol/answers.js';
import { BadParameter, parseParameters } from '../src/protocol/query.js';
import { parseSeveral } from '../src/protocol/several.js';
import { newTicket, proofOf } from '../src/protocol/ticket.js';
import { Random } from './chaos/random.js';
import { held, type Reply, service as serviceOf, set, until } from './harness.js';
import { raw, request } from './raw.js';
import { stores } from './stores.js';
import { fakeConnections } from './twin/clients.js';
import { Clock } from './twin/clock.js';
import { Line, Server } from './twin/server.js';

interface Heard extends Reply {
  key?: string;
  cursors?: string[];
}
interface Place {
  key: string;
  since?: string;
  proof?: string;
}

const below = (random: Random, limit: number) => Math.floor(random.next() * limit);
const newKey = () => `k${Math.random().toString(36).slice(2)}`;
const queryOf = (places: readonly Place[], more = '') =>
  places.map(({ key, since = '', proof = '' }) => `key=${key}&since=${since}&proof=${proof}`).join('&') +
  more;

async function ask(
  publicUrl: string,
  places: readonly Place[],
  more = '',
  init: RequestInit = {},
): Promise<Heard> {
  return (await fetch(`${publicUrl}/status/get?${queryOf(places, more)}`, init)).json() as Promise<Heard>;
}

describe('the query', () => {
  const read = (query: string) => parseSeveral(parseParameters(query), 25);
  const sixteen = Array.from({ length: 16 }, (_, at) => `key=k${at}`).join('&');

  test.each([
    ['key=a&key=b', ['a  ', 'b  ']],
    ['key=a&since=e-1&proof=p&key=b&since=&proof=', ['a e-1 p', 'b  ']],
    ['since=&since=e-2&proof=p&proof=q&key=a&key=b&hold=3', ['a  p', 'b e-2 q']],
    [sixteen, Array.from({ length: 16 }, (_, at) => `k${at}  `)],
  ])('%s', (query, places) => {
    const { keys = [] } = read(query) as { keys?: Required<Place>[] };
    expect(keys.map(({ key, since, proof }) => `${key} ${since} ${proof}`)).toEqual(places);
  });

  const list = 'give it once for each key, in the same order, empty where there is none; or not at all';
  test.each([
    [`${sixteen}&key=more`, 'key: give at most 16 keys'],
    [`${sixteen}&${sixteen.replaceAll('=k', '=j')}`, 'key: give at most 16 keys'],
    ['key=a&key=b&key=a', 'key: give each key once'],
    ['key=a&key=b&since=e-1', `since: ${list}`],
    ['key=a&key=b&proof=p', `proof: ${list}`],
    ['key=a&since=e-1&since=e-2', `since: ${list}`],
    ['key=a&key=b&since=e-1&since=e-2&since=e-3', `since: ${list}`],
    ['key=a&key=', 'key: give 1 to 128 of A-Z a-z 0-9 . _ ~ : -'],
    ['key=a&key=b&since=&since=!', 'since: give the cursor of the last answer, or nothing'],
    ['key=a&key=b&hold=1&hold=2', 'hold: give it once'],
    ['key=a&key=%ff', 'key: its percent-encoding is broken; give UTF-8'],
  ])('%s is refused', (query, message) => expect(read(query)).toEqual(new BadParameter(message)));
});

/** A page in virtual time: asks again with what it was answered, leaves at times, and keeps what it hears. */
class Page {
  readonly heard = new Map<string, string[]>();
  readonly #cursors = new Map<string, string>();
  readonly #ended = new Set<string>();
  #leave: () => void = () => {};
  #polls = 0;

  constructor(
    readonly keys: readonly string[],
    readonly ask: (
      page: Page,
      places: { key: string; since: string }[],
      answer: (heard: Heard) => void,
    ) => () => void,
  ) {
    for (const key of keys) this.heard.set(key, []);
  }

  poll(): void {
    this.#leave();
    this.#leave = () => {};
    const keys = this.keys.filter(key => !this.#ended.has(key));
    if (keys.length === 0) return;
    const poll = ++this.#polls;
    const places = keys.map(key => ({ key, since: this.#cursors.get(key) ?? '' }));
    let answered = false;
    const leave = this.ask(this, places, heard => {
      expect(answered, 'an answer comes once').toBe(false);
      answered = true;
      // a page that has left hears nothing
      expect(poll).toBe(this.#polls);
      this.#hear(keys, heard);
    });
    if (!answered) this.#leave = leave;
  }

  #hear(
    keys: readonly string[],
    { code, key = keys[0] as string, cursor, cursors, earlier = [], data, final, retry }: Heard,
  ): void {
    this.#leave = () => {};
    if (code === 0) this.heard.get(key)?.push(...(earlier as string[]), data as string);
    for (const [at, its] of (cursors ?? []).entries()) this.#cursors.set(keys[at] as string, its);
    if (cursor !== undefined) this.#cursors.set(key, cursor);
    if (final || code === -2) this.#ended.add(key);
    setTimeout(() => this.poll(), retry ?? (code === -1 ? 20 : 2));
  }
}

/** Two nodes in virtual time, over Redis in memory, or one over the embedded store. */
async function world(
  seed: number,
  run: (nodes: LongPoll[], clock: Clock, random: Random) => Promise<void>,
): Promise<void> {
  const clock = new Clock();
  const random = new Random(seed);
  clock.install(() => random.next());
  try {
    const server = new Server(7001);
    const nodes = (seed % 3 === 0 ? ['n0'] : ['n0', 'n1']).map(node => {
      const options = {
        store: { kind: 'server', url: 'redis://fake:7001' },
        prefix: 't',
        wait: 0,
        node,
      } as const;
      const broker =
        seed % 3 === 0
          ? new MemoryBroker({ history: 64 })
          : new RedisBroker({ ...options, history: 64, log: { info() {}, warn() {} } }, () =>
              fakeConnections(new Line(random, 1), [server], false),
            );
      return new LongPoll(broker, { id: node, version: '0' });
    });
    for (const node of nodes) void node.start();
    await clock.runUntil(1000);
    await run(nodes, clock, random);
    for (const node of nodes) void node.close();
  } finally {
    clock.uninstall();
  }
}

const RUNS = Number(process.env.SEVERAL_RUNS ?? 12);
test(`${RUNS} random runs: one poll of several keys hears what single polls hear, in order, none twice`, async () => {
  for (let seed = 1; seed <= RUNS; seed++)
    await world(seed, async (nodes, clock, random) => {
      const keys = Array.from({ length: 2 + below(random, 6) }, (_, at) => `key-${at}`);
      const hold = random.pick([100, 400, 3000, 0]);
      const several = new Page(keys, (_, places, answer) => {
        const held = new SeveralKeys(random.pick(nodes), places, hold, {
          answer: (given: Answer, key?: string) => answer(JSON.parse(textOf(given, undefined, key))),
        });
        return () => held.leave();
      });
      const singles = keys.map(
        key =>
          new Page([key], (_, [place], answer) => {
            const node = random.pick(nodes);
            const question = { ...(place as { key: string; since: string }), hold };
            const waiter = node.get(question, { answer: given => answer(JSON.parse(textOf(given))) });
            return () => waiter && node.leave(waiter);
          }),
      );
      for (const page of [several, ...singles]) page.poll();
      const all = new Map<string, string[]>(keys.map(key => [key, []]));
      const ended = new Set<string>();
      for (let at = 0; at < 40; at++) {
        await clock.runUntil(clock.now + below(random, 200));
        const key = random.pick(keys);
        if (below(random, 4) === 0) several.poll();
        if (ended.has(key)) continue;
        const final = below(random, 25) === 0;
        if (final) ended.add(key);
        all.get(key)?.push(`v${at}`);
        void random.pick(nodes).set(key, `v${at}`, { ttl: 600_000, final });
      }
      await clock.runUntil(clock.now + 5000);
      // of two sets at the same time the store says which is first
      const single = new Map(singles.flatMap(({ heard }) => [...heard]));
      expect(several.heard, `seed ${seed}`).toEqual(single);
      for (const [key, values] of all) expect(single.get(key)?.sort()).toEqual(values.sort());
      const held = nodes.reduce((sum, node) => sum + node.held, 0);
      const open = keys.length - ended.size;
      if (hold > 0)
        expect(held, 'one for all keys, and one for each').toBeLessThanOrEqual(open + (open > 0 ? 1 : 0));
      several.poll();
    });
}, 60_000);

test('a key with news all the time does not keep the news of another key waiting', async () => {
  await world(3, async ([node], clock) => {
    const longpoll = node as LongPoll;
    const page = new Page(['busy', 'quiet'], (_, places, answer) => {
      const held = new SeveralKeys(longpoll, places, 1000, {
        answer: (given: Answer, key?: string) => answer(JSON.parse(textOf(given, undefined, key))),
      });
      return () => held.leave();
    });
    setInterval(() => void longpoll.set('busy', 'b', { ttl: 60_000 }), 1);
    await longpoll.set('quiet', 'q', { ttl: 60_000 });
    await clock.runUntil(clock.now + 20);
    page.poll();
    await clock.runUntil(clock.now + 200);
    expect(page.heard.get('quiet')).toEqual(['q']);
  });
});

describe.each(stores)('over $name', store => {
  test('a value answers the poll with its key; the other keys are let go, and nothing of them is lost', async () => {
    const { publicUrl, internalUrl } = await serviceOf(await store.settings());
    const [a, b] = [newKey(), newKey()];
    const asked = ask(publicUrl, [{ key: a }, { key: b }]);
    await held(internalUrl, a, 1);
    await held(internalUrl, b, 1);
    await set(internalUrl, { key: b, value: 1 });
    const first = await asked;
    expect(first).toEqual({ code: 0, message: 'success', key: b, data: 1, cursor: expect.any(String) });
    await held(internalUrl, a, 0);
    // between two polls
    expect((await set(internalUrl, { key: a, value: 2 })).body.watched, 'within the grace').toBe(true);
    await set(internalUrl, { key: b, value: 3, final: true });
    const places = [{ key: a }, { key: b, since: first.cursor as string }];
    const heard: string[] = [];
    const ended = { key: b, since: '' };
    for (let left = [...places]; heard.length < 2; ) {
      const { key, data, final, cursor = '' } = await ask(publicUrl, left);
      heard.push(`${key} ${data} ${final}`);
      if (final) ended.since = cursor;
      left = left.filter(place => place.key !== key);
      if (left.length === 1) left.push({ key: newKey() });
    }
    expect(heard.sort()).toEqual([`${a} 2 undefined`, `${b} 3 true`].sort());
    const after = await ask(publicUrl, [{ key: newKey() }, ended], '&hold=0');
    expect(after).toEqual({ code: -2, message: 'expired', key: b });
  });

  test('a time-out has a cursor for each key, in order; a poll that waits not at all, too', async () => {
    const { publicUrl, internalUrl } = await serviceOf(await store.settings());
    const [a, b, c] = [newKey(), newKey(), newKey()];
    const { cursor } = (await set(internalUrl, { key: b, value: 1 })).body;
    for (const hold of ['0', '0.05'])
      expect(
        await ask(publicUrl, [{ key: a }, { key: b, since: cursor }, { key: c }], `&hold=${hold}`),
      ).toEqual({
        code: -1,
        message: 'timeout',
        cursors: ['', cursor, ''],
      });
  });

  test('a poll is dropped by any of its keys, and none is watched then', async () => {
    const { publicUrl, internalUrl } = await serviceOf(await store.settings());
    const [a, b] = [newKey(), newKey()];
    const asked = ask(publicUrl, [{ key: a }, { key: b }], '&poll=name');
    await held(internalUrl, a, 1);
    await held(internalUrl, b, 1);
    const none = { code: -1, message: 'timeout', cursors: ['', ''] };
    expect(await ask(publicUrl, [{ key: b }, { key: a }], '&drop=name')).toEqual(none);
    expect(await asked).toEqual(none);
    for (const key of [a, b]) expect((await set(internalUrl, { key, value: 1 })).body.watched).toBe(false);
  });
});

test.each([
  ['callback', '/**/typeof cb=="function"&&cb(', ');'],
  ['var', '/**/window.cb=', ';'],
])('as a script by %s', async (mode, before, after) => {
  const { publicUrl, internalUrl } = await serviceOf();
  await set(internalUrl, { key: 'b', value: 1 });
  const response = await fetch(`${publicUrl}/status/get?key=a&key=b&${mode}=cb`);
  const text = await response.text();
  expect(text.startsWith(before) && text.endsWith(after)).toBe(true);
  expect(JSON.parse(text.slice(before.length, -after.length))).toMatchObject({ code: 0, key: 'b', data: 1 });
  const refused = await (await fetch(`${publicUrl}/status/get?key=a&key=a&${mode}=cb`)).text();
  expect(refused).toContain('"code":-4,"message":"bad request","detail":"key: give each key once"');
});

test("Node's HTTP answers as the fast path does", async () => {
  const { publicUrl, internalUrl } = await serviceOf();
  await set(internalUrl, { key: 'b', value: 1 });
  for (const target of ['key=a&key=b', 'key=a&key=b&since=x', 'key=a&key=b&since=&since=e-1&hold=0']) {
    const fast = raw(publicUrl, request(`/status/get?${target}`));
    // a repeated header is read by Node's HTTP server
    const slow = raw(publicUrl, request(`/status/get?${target}`, ['Referer: a', 'Referer: b']));
    await until(() => [fast, slow].every(({ text }) => text.endsWith('}')));
    expect(slow.text.split('\r\n\r\n')[1]).toBe(fast.text.split('\r\n\r\n')[1]);
  }
});

describe('tickets', () => {
  const secret = ['a-secret-of-thirty-two-characters'];
  const now = () => Math.floor(Date.now() / 1000);

  test('a wrong proof or an ended ticket ends its key alone, with its status', async () => {
    const { publicUrl, internalUrl } = await serviceOf({ secret });
    const good = newTicket(secret[0] as string, 60);
    const ended = { key: 'ended', proof: proofOf(secret[0] as string, 'ended', now() - 1) };
    const wrong = { key: 'wrong', proof: good.proof };
    for (const [bad, status, code, message] of [
      [wrong, 403, -5, 'forbidden'],
      [ended, 410, -2, 'expired'],
    ] as const) {
      const response = await fetch(`${publicUrl}/status/get?${queryOf([good, bad])}`);
      expect([response.status, await response.json()]).toEqual([status, { code, message, key: bad.key }]);
    }
    await set(internalUrl, { key: good.key, value: 1 });
    expect(await ask(publicUrl, [good])).toMatchObject({ code: 0, data: 1 });
  });

  test('`left` is of the key that the answer is for, on a time-out the least; the first to end ends its key', async () => {
    const { publicUrl, internalUrl } = await serviceOf({ secret });
    const long = newTicket(secret[0] as string, 1000);
    const short = newTicket(secret[0] as string, 100);
    const none = await ask(publicUrl, [long, short], '&hold=0');
    expect(none.left).toBeGreaterThan(90);
    expect(none.left).toBeLessThanOrEqual(100);
    await set(internalUrl, { key: long.key, value: 1 });
    expect((await ask(publicUrl, [long, short])).left).toBeGreaterThan(900);
    const brief = { key: 'brief', proof: proofOf(secret[0] as string, 'brief', now() + 2) };
    expect(await ask(publicUrl, [short, brief])).toEqual({ code: -2, message: 'expired', key: 'brief' });
  });
});

describe('limits', () => {
  test('one held request, and as many keys', async () => {
    const { publicUrl, internalUrl } = await serviceOf({ maxHeldPerKey: 1, maxHeldPerIp: 2, maxHeld: 2 });
    const asked = ask(publicUrl, [{ key: 'a' }, { key: 'b' }, { key: 'c' }]);
    await held(internalUrl, 'c', 1);
    const { nodes } = (await (await fetch(`${internalUrl}/nodes`)).json()) as { nodes: { held: number }[] };
    expect(nodes[0]?.held).toBe(1);
    const other = raw(publicUrl, request('/status/get?key=c'), '127.0.0.2');
    await until(() => other.text.includes('"code":-3'));
    // a second one of that address fits; of one key the newest is held
    const newest = ask(publicUrl, [{ key: 'd' }, { key: 'b' }]);
    expect(await asked).toEqual({ code: -1, message: 'timeout', cursors: ['', '', ''] });
    await held(internalUrl, 'b', 1);
    await held(internalUrl, 'a', 0);
    await set(internalUrl, { key: 'b', value: 1 });
    expect(await newest).toMatchObject({ code: 0, key: 'b' });
  });

  test('a poll above the limit of one key is busy, and handed the news of another', async () => {
    const { publicUrl, internalUrl } = await serviceOf({ maxHeldPerKey: 1 });
    const other = raw(publicUrl, request('/status/get?key=a'), '127.0.0.2');
    await held(internalUrl, 'a', 1);
    expect(await ask(publicUrl, [{ key: 'a' }, { key: 'b' }])).toEqual({
      code: -3,
      message: 'busy',
      retry: expect.any(Number),
    });
    await set(internalUrl, { key: 'b', value: 1 });
    expect(await ask(publicUrl, [{ key: 'a' }, { key: 'b' }])).toMatchObject({ code: 0, key: 'b', data: 1 });
    other.socket.end();
  });
});

test('a page that goes away is let go on every key; a drain moves it', async () => {
  const service = await serviceOf();
  const { publicUrl, internalUrl } = service;
  const leaving = new AbortController();
  const gone = ask(publicUrl, [{ key: 'a' }, { key: 'b' }], '', { signal: leaving.signal }).catch(
    () => 'gone',
  );
  await held(internalUrl, 'b', 1);
  leaving.abort();
  expect(await gone).toBe('gone');
  for (const key of ['a', 'b']) await held(internalUrl, key, 0);
  const moved = ask(publicUrl, [{ key: 'a' }, { key: 'b' }]);
  await held(internalUrl, 'b', 1);
  await Promise.all([service.stop(), moved]);
  expect(await moved).toEqual({ code: -6, message: 'moved', retry: expect.any(Number) });
});
