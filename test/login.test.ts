/** The scan login from outside: five calls on the internal port, and what the page hears on the public one. */
import { createHmac } from 'node:crypto';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { Conflict, Unavailable } from '../src/brokers/broker.js';
import { MemoryBroker } from '../src/brokers/memory.js';
import { createTagwait, LoginError } from '../src/index.js';
import { type LoginStore, Logins } from '../src/login/machine.js';
import { Tries } from '../src/login/tries.js';
import { proofOf, verify } from '../src/protocol/ticket.js';
import { LoginRoutes } from '../src/routes/login.js';
import type { Service } from '../src/service.js';
import type { Config } from '../src/settings.js';
import { held, poll, service, set, until } from './harness.js';
import { redisServer } from './redis.js';
import { scrape } from './scrape.js';
import { stores } from './stores.js';

const secret = ['s'.repeat(32)];
interface Answer {
  status: number;
  body: Record<string, unknown>;
}
type Call = (
  step: string,
  fields: Record<string, unknown>,
  headers?: Record<string, string>,
) => Promise<Answer>;

const caller =
  ({ internalUrl }: Pick<Service, 'internalUrl'>): Call =>
  async (step, fields, headers = {}) => {
    const response = await fetch(`${internalUrl}/login/${step}`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', ...headers },
      body: JSON.stringify(fields),
    });
    return { status: response.status, body: (await response.json()) as Answer['body'] };
  };

/** A node, its five calls, and a login that was begun. */
async function begun(options: Partial<Config> = {}, fields: Record<string, unknown> = {}) {
  const node = await service({ secret, ...options });
  const call = caller(node);
  const { status, body } = await call('new', { visitor: 'v', ...fields });
  expect(status, JSON.stringify(body)).toBe(200);
  const { key, proof, expires } = body as { key: string; proof: string; expires: number };
  const page = (since = '', hold = '0') => poll(node.publicUrl, { key, proof, since, hold });
  /** all that the page hears, and the last answer */
  const heard = async () => {
    const { earlier = [], data, final, code } = await page();
    return { values: code === 0 ? [...earlier, data] : [], final: final ?? false };
  };
  const code = async () => ((await heard()).values.at(-1) as { code: string }).code;
  const phone = { key, phone: 'p' };
  return { node, call, key, proof, expires, page, heard, code, phone };
}

describe.each(stores)('a login by scan, over $name', ({ settings }) => {
  test('scanned, approved, redeemed: what the page hears, and what each call answers', async () => {
    const show = { site: 'example.com', large: 2 ** 53, text: 'é<😀' };
    const { node, call, key, proof, expires, page, phone } = await begun(await settings(), { show, ttl: 90 });
    expect(key).toMatch(/^[\w-]{22}$/);
    expect(proof.startsWith(`${expires}.`)).toBe(true);
    const now = Date.now() / 1000;
    expect(Math.abs(expires - now - 90)).toBeLessThan(5);

    const waiting = page('', '20');
    await held(node.internalUrl, key, 1);
    const scanned = await call('scan', phone);
    expect(scanned).toEqual({ status: 200, body: { code: 0, show, created: expect.any(Number), expires } });
    expect(Math.abs(Number(scanned.body.created) - now)).toBeLessThan(5);
    const first = await waiting;
    expect([first.data, first.final]).toEqual([{ state: 'scanned' }, undefined]);

    const deciding = page(first.cursor, '20');
    await held(node.internalUrl, key, 1);
    const user = { id: 7, secret: 'user-never-heard' };
    expect(await call('approve', { ...phone, user })).toEqual({ status: 200, body: { code: 0 } });
    const approved = await deciding;
    expect(approved.final).toBe(true);
    expect(approved.data).toEqual({ state: 'approved', code: expect.stringMatching(/^[\w-]{22}$/) });
    const { code } = approved.data as { code: string };

    const claim = { key, code, visitor: 'v' };
    expect(await call('redeem', claim)).toEqual({ status: 200, body: { code: 0, user, phone: 'p' } });
    expect((await call('redeem', claim)).status).toBe(409);
    expect(JSON.stringify(await page())).not.toContain('user-never-heard');
  });

  test('denied: the page hears it, and nothing else is possible', async () => {
    const { call, key, heard, phone } = await begun(await settings());
    await call('scan', phone);
    expect(await call('deny', phone)).toEqual({ status: 200, body: { code: 0 } });
    expect(await heard()).toEqual({ values: [{ state: 'scanned' }, { state: 'denied' }], final: true });
    expect((await call('deny', phone)).status).toBe(200);
    expect(await call('approve', { ...phone, user: 1 })).toMatchObject({
      status: 409,
      body: { reason: 'denied' },
    });
    expect(await call('scan', phone)).toMatchObject({ status: 410, body: { reason: 'decided' } });
    expect(await call('redeem', { key, code: 'x', visitor: 'v' })).toMatchObject({ status: 410 });
  });

  test('another phone, and steps out of order, are a conflict', async () => {
    const { call, heard, phone } = await begun(await settings());
    for (const [step, more] of [
      ['approve', { user: 1 }],
      ['deny', {}],
    ] as const)
      expect(await call(step, { ...phone, ...more })).toMatchObject({
        status: 409,
        body: { reason: 'unscanned' },
      });
    expect(await heard()).toEqual({ values: [], final: false });
    const both = await Promise.all([call('scan', phone), call('scan', { ...phone, phone: 'q' })]);
    expect(both.map(({ status }) => status).sort()).toEqual([200, 409]);
    const [first, second] = both[0].status === 200 ? ['p', 'q'] : ['q', 'p'];
    for (const [step, more] of [
      ['scan', {}],
      ['approve', { user: 1 }],
      ['deny', {}],
    ] as const)
      expect(await call(step, { ...phone, ...more, phone: second })).toMatchObject({
        status: 409,
        body: { reason: 'taken' },
      });
    expect((await call('approve', { ...phone, phone: first, user: 1 })).status).toBe(200);
    expect(await call('deny', { ...phone, phone: first })).toMatchObject({
      status: 409,
      body: { reason: 'approved' },
    });
  });

  test('every call repeated on another node is answered as the first, and the page hears each step once', async () => {
    const shared = await settings();
    const one = await begun(shared, { show: 'here' });
    const { key, phone, call, heard, code, node } = one;
    const again = 'redisUrl' in shared ? caller(await service({ secret, ...shared })) : caller(node);
    for (const [step, fields] of [
      ['scan', phone],
      ['approve', { ...phone, user: [1] }],
    ] as const) {
      const first = await call(step, fields);
      expect(first.status).toBe(200);
      expect(await again(step, fields)).toEqual(first);
    }
    const claim = { key, code: await code(), visitor: 'v', id: 'once' };
    const first = await call('redeem', claim);
    expect(first).toEqual({ status: 200, body: { code: 0, user: [1], phone: 'p' } });
    expect(await again('redeem', claim)).toEqual(first);
    expect(await again('redeem', { ...claim, id: 'twice' })).toMatchObject({
      status: 409,
      body: { reason: 'redeemed' },
    });
    expect((await again('redeem', { ...claim, visitor: 'w' })).status).toBe(403);
    expect((await again('approve', { ...phone, user: [2] })).status).toBe(200);
    expect((await heard()).values).toEqual([{ state: 'scanned' }, { state: 'approved', code: claim.code }]);
  });

  test('a wrong code or visitor does not use the code up; too many tries must wait, and the right code never does', async () => {
    const { call, key, code, phone } = await begun(await settings());
    const claim = { key, code: 'wrong', visitor: 'v' };
    expect((await call('redeem', claim)).status).toBe(403);
    await call('scan', phone);
    await call('approve', { ...phone, user: 1 });
    const right = await code();
    const wrong = [claim, { ...claim, code: right, visitor: 'w' }, { ...claim, code: '' }];
    const answers: Answer[] = [];
    for (let number = 0; number < 30; number++)
      answers.push(await call('redeem', wrong[number % 3] ?? claim));
    expect([...new Set(answers.map(({ status }) => status))]).toEqual([403, 429]);
    expect(answers.at(-1)?.body).toMatchObject({ code: 429, reason: 'tries', retry: expect.any(Number) });
    expect(Number(answers.at(-1)?.body.retry)).toBeGreaterThan(0);
    expect((await call('redeem', { ...claim, code: right })).body).toEqual({ code: 0, user: 1, phone: 'p' });
  });

  test('only wrong codes and visitors are counted as tries: other refusals stay what they are', async () => {
    const { call, key, phone } = await begun(await settings());
    await call('scan', phone);
    await call('deny', phone);
    for (const [claim, reason] of [
      [{ key, code: 'x', visitor: 'v' }, 'decided'],
      [{ key: 'none', code: 'x', visitor: 'v' }, 'unknown'],
    ] as const)
      for (let number = 0; number < 12; number++)
        expect((await call('redeem', claim)).body.reason, `the ${number + 1}th`).toBe(reason);
  });

  test('after a final set of the backend on its key no step is answered 200', async () => {
    const { node, call, key, phone } = await begun(await settings());
    expect((await set(node.internalUrl, { key, value: 1, final: true })).status).toBe(200);
    const late = { status: 410, body: { code: 410, reason: 'decided' } };
    expect(await call('scan', phone)).toMatchObject(late);
    expect(await call('approve', { ...phone, user: 1 })).toMatchObject(late);
    expect(await call('approve', { ...phone, user: 1, receipt: 0 }), 'again').toMatchObject(late);
    expect((await call('deny', phone)).body.reason).toBe('approved');
  });

  test('the same for a login that was scanned, and is denied', async () => {
    const { node, call, key, phone } = await begun(await settings());
    expect((await call('scan', phone)).status).toBe(200);
    await set(node.internalUrl, { key, value: 1, final: true });
    for (let times = 0; times < 2; times++) expect((await call('deny', phone)).body.reason).toBe('decided');
  });

  test('visitors that differ in a lone surrogate are two', async () => {
    const visitor = 'v\ud800';
    const { call, code, key, phone } = await begun(await settings(), { visitor });
    await call('scan', phone);
    await call('approve', { ...phone, user: 1 });
    const claim = { key, code: await code() };
    for (const other of ['v\ud801', 'v\ufffd', '"v\\ud800"', 'v'])
      expect((await call('redeem', { ...claim, visitor: other })).status, JSON.stringify(other)).toBe(403);
    expect((await call('redeem', { ...claim, visitor })).status).toBe(200);
  });

  test('what comes too late is 410, and an unknown key 404', async () => {
    const { call, key, phone } = await begun(await settings(), { ttl: 0.2 });
    await until(async () => (await call('approve', { ...phone, user: 1 })).status === 410);
    expect(await call('scan', phone)).toMatchObject({
      body: { code: 410, message: 'expired', reason: 'expired' },
    });
    expect((await call('redeem', { key, code: 'x', visitor: 'v' })).status).toBe(410);
    for (const [step, more] of [
      ['scan', {}],
      ['approve', { user: 1 }],
      ['deny', {}],
    ] as const)
      expect((await call(step, { ...phone, key: 'unknown', ...more })).body).toMatchObject({
        code: 404,
        message: 'not found',
        reason: 'unknown',
      });
  });
});

test('the hash of a visitor is that of older nodes, which may have begun the login', async () => {
  const stored: string[] = [];
  const setRendered: LoginStore['setRendered'] = async (_, value) => {
    stored.push(JSON.parse(value).visitor);
    return { cursor: 'e-1', watched: false };
  };
  const { key } = await new Logins({ setRendered } as LoginStore, secret).new('vé😀', 60, 'null');
  const hash = createHmac('sha256', secret[0] as string).update(`/visitor\n${key}\nvé😀`);
  expect(stored).toEqual([hash.digest('base64url')]);
});

describe('what the five calls take', () => {
  const text = '1 to 256 characters';
  const refused: [step: string, fields: Record<string, unknown>, detail: string][] = [
    ['new', {}, `visitor: give ${text}`],
    ['new', { visitor: '' }, `visitor: give ${text}`],
    ['new', { visitor: 'x'.repeat(257) }, `visitor: give ${text}`],
    ['new', { visitor: 7 }, `visitor: give ${text}`],
    ['new', { visitor: 'v', ttl: 0 }, 'ttl: give seconds'],
    ['new', { visitor: 'v', key: 'a' }, 'there are visitor, ttl, show'],
    ['new', { visitor: 'v', show: 'x'.repeat(20_000) }, 'show: give at most 16384 bytes'],
    ['new', { visitor: 'v', show: { ['__proto__']: 1 } }, 'show: holds an object with a "__proto__" key'],
    ['scan', { phone: 'p' }, 'key: give 1 to 128'],
    ['scan', { key: 'a/b', phone: 'p' }, 'key: give 1 to 128'],
    ['scan', { key: 'a' }, `phone: give ${text}`],
    ['scan', { key: 'a', phone: null }, `phone: give ${text}`],
    ['approve', { key: 'a', phone: 'p' }, 'user: give any JSON'],
    ['approve', { key: 'a', phone: 'p', user: 'x'.repeat(20_000) }, 'user: give at most 16384 bytes'],
    ['deny', { key: 'a', phone: 'p', user: 1 }, 'there are key, phone'],
    ['redeem', { key: 'a', visitor: 'v' }, 'code: give 0 to 256 characters'],
    ['redeem', { key: 'a', code: 'c' }, `visitor: give ${text}`],
    ['redeem', { key: 'a', code: 'c', visitor: 'v', id: 'a b' }, 'id: give 1 to 64'],
  ];
  test('an error names the field and what is allowed', async () => {
    const call = caller(await service({ secret }));
    for (const [step, fields, detail] of refused) {
      const body = JSON.stringify(fields).replace('"__proto__"', '"__proto__"');
      const { status, body: said } = await call(step, JSON.parse(body));
      expect([status, said.detail], `${step} ${body.slice(0, 60)}`).toEqual([
        detail.includes('bytes') ? 413 : 400,
        expect.stringContaining(detail),
      ]);
    }
    expect((await call('new', { visitor: '😀'.repeat(256) })).status).toBe(200);
  });

  test('what an attack leaves behind is counted: refusals, second phones, wrong codes', async () => {
    const { node, call, key, phone } = await begun();
    await call('scan', phone);
    await call('scan', { ...phone, phone: 'q' });
    await call('redeem', { key, code: 'guessed', visitor: 'v' });
    await call('deny', phone);
    const metrics = await scrape(node.internalUrl);
    for (const [step, result] of [
      ['scan', 'conflict'],
      ['redeem', 'wrong'],
      ['deny', 'ok'],
    ])
      expect(metrics.get(`tagwait_logins_total{step="${step}",result="${result}"}`), step).toBe(1);
  });

  test('keys and codes are random, and no two are the same', async () => {
    const node = await service({ secret });
    const call = caller(node);
    const begin = async () => {
      const { key = '', proof = '' } = (await call('new', { visitor: 'v' })).body as Record<string, string>;
      const phone = { key, phone: 'p' };
      await call('scan', phone);
      await call('approve', { ...phone, user: 1 });
      const { data } = await poll(node.publicUrl, { key, proof, hold: '0' });
      return [key, (data as { code: string }).code];
    };
    const all = (await Promise.all(Array.from({ length: 8 }, begin))).flat();
    expect(new Set(all).size).toBe(16);
    for (const one of all) expect(Buffer.from(one, 'base64url')).toHaveLength(16);
  });

  test('forms: show and user follow the rule of value', async () => {
    const node = await service({ secret });
    const form = async (step: string, fields: Record<string, string>) => {
      const body = new URLSearchParams(fields);
      const response = await fetch(`${node.internalUrl}/login/${step}`, { method: 'POST', body });
      return (await response.json()) as Record<string, unknown>;
    };
    const cases: [string, unknown][] = [
      ['{"site":"a"}', { site: 'a' }],
      ['7', 7],
      ['007', '007'],
      ['true', true],
      ['two words', 'two words'],
      ['{name} [1', '{name} [1'],
    ];
    for (const [given, expected] of cases) {
      const { key, proof } = (await form('new', { visitor: 'v', show: given, ttl: '60' })) as Record<
        string,
        string
      >;
      const phone = { key: key as string, phone: 'p' };
      expect((await form('scan', phone)).show).toEqual(expected);
      expect(await form('approve', { ...phone, user: given })).toEqual({ code: 0 });
      const { data } = await poll(node.publicUrl, { key: key as string, proof: proof as string });
      const claim = { key: key as string, code: (data as { code: string }).code, visitor: 'v' };
      expect(await form('redeem', claim)).toEqual({ code: 0, user: expected, phone: 'p' });
    }
    expect(await form('new', { visitor: 'v', show: '[9007199254740993]' })).toMatchObject({
      code: 400,
      detail: expect.stringMatching(/^show: holds an integer/),
    });
  });

  test.each([
    ['arrays', (levels: number) => '['.repeat(levels) + ']'.repeat(levels)],
    ['objects', (levels: number) => `${'{"a":'.repeat(levels)}1${'}'.repeat(levels)}`],
  ])('show and user may have 1000 levels, as a value: %s', async (_, nested) => {
    for (const levels of [999, 1000, 1001]) {
      const any = JSON.parse(nested(levels)) as unknown;
      const { call, key, phone, code, node } = await begun();
      const status = levels > 1000 ? 400 : 200;
      const made = await call('new', { visitor: 'v', show: any });
      expect(made.status, `new, ${levels} levels`).toBe(status);
      if (status === 200) {
        const scanned = await call('scan', { key: made.body.key, phone: 'p' });
        expect([scanned.status, JSON.stringify(scanned.body.show)]).toEqual([200, nested(levels)]);
      }
      await call('scan', phone);
      expect((await call('approve', { ...phone, user: any })).status, `approve, ${levels} levels`).toBe(
        status,
      );
      if (status !== 200) await call('approve', { ...phone, user: 7 });
      const redeemed = await call('redeem', { key, code: await code(), visitor: 'v' });
      expect([redeemed.status, JSON.stringify(redeemed.body.user)]).toEqual([
        200,
        status === 200 ? nested(levels) : '7',
      ]);
      await node.stop();
    }
  });

  test('the guards of the internal port: tokens, other sites, media types', async () => {
    const token = 't'.repeat(32);
    const node = await service({ secret, setTokens: [token] });
    const call = caller(node);
    expect((await call('new', { visitor: 'v' })).status).toBe(401);
    const allowed = { Authorization: `Bearer ${token}` };
    expect((await call('new', { visitor: 'v' }, { ...allowed, Origin: 'https://evil.example' })).status).toBe(
      403,
    );
    expect((await call('new', { visitor: 'v' }, { ...allowed, 'Content-Type': 'text/plain' })).status).toBe(
      415,
    );
    expect((await call('new', { visitor: 'v' }, allowed)).status).toBe(200);
    const metrics = await scrape(node.internalUrl);
    for (const result of ['ok', 'unauthorized', 'refused'])
      expect(metrics.get(`tagwait_logins_total{step="new",result="${result}"}`), result).toBe(1);
    for (const [where, status] of [
      [node.publicUrl, 404],
      [node.internalUrl, 405],
    ] as const)
      expect((await fetch(`${where}/login/new`)).status).toBe(status);
  });

  test('without a secret every call is 404, and says why', async () => {
    const call = caller(await service());
    const fields = { key: 'a', phone: 'p', user: 1, code: 'c', visitor: 'v' };
    const needs = { new: ['visitor'], scan: ['key', 'phone'], redeem: ['key', 'code', 'visitor'] };
    for (const [step, names] of Object.entries(needs))
      expect(
        await call(step, Object.fromEntries(names.map(name => [name, fields[name as keyof typeof fields]]))),
      ).toMatchObject({ status: 404, body: { reason: 'off', detail: /TAGWAIT_SECRET/ } });
  });
});

test('the record of a login: no page can watch it, and it holds no visitor', async () => {
  const redis = await redisServer();
  const visitor = { visitor: 'the-visitor', show: 'SHOW' };
  const { node, call, key, proof, phone } = await begun({ redisUrl: redis.url }, visitor);
  await call('scan', phone);
  await call('approve', { ...phone, user: 'USER' });
  const records = (await redis.client.keys('tagwait:1:{*}')).filter(name => !name.includes(key));
  expect(records).toEqual([expect.stringMatching(/^tagwait:1:\{[\w-]{43}\}$/)]);
  const record = (records[0] as string).slice('tagwait:1:{'.length, -1);
  const stored = JSON.stringify(await redis.client.hgetall(`tagwait:1:{${record}}`));
  expect(stored).toContain('USER');
  expect(stored).not.toContain('the-visitor');
  const watched = JSON.stringify(await redis.client.hgetall(`tagwait:1:{${key}}`));
  expect(watched).toContain('approved');
  expect(watched).not.toMatch(/USER|SHOW|the-visitor/);
  for (const given of [proof, ''])
    expect((await poll(node.publicUrl, { key: record, proof: given, hold: '0' })).code).toBe(-5);
});

test('the record: another visitor for each login, a key that is no proof of a ticket, kept for a minute at least', async () => {
  const sets: { key: string; login: { visitor: string }; ttl: number }[] = [];
  const store: LoginStore = {
    setRendered: async (key, value, { ttl = 0 }) => {
      sets.push({ key, login: JSON.parse(value), ttl });
      return {} as never;
    },
    peek: () => Promise.reject(new Error('is not asked')),
  };
  const logins = new Logins(store, secret);
  const { key } = await logins.new('v', 1, '1');
  await logins.new('v', 1, '1');
  const [one, two] = sets as [(typeof sets)[0], (typeof sets)[0]];
  expect(one.login.visitor).not.toBe(two.login.visitor);
  expect(one.ttl).toBeGreaterThan(60_500);
  expect(one.ttl).toBeLessThanOrEqual(61_000);
  // what would be signed for a ticket of the key "login"
  expect(proofOf(secret[0] as string, 'login', key as never)).not.toContain(one.key);
});

test('wrong tries are counted for 10,000 keys, and the oldest window gives way', () => {
  const tries = new Tries();
  const limited = (key: string, now: number) => {
    for (let number = 0; number < 11; number++) tries.wrong(key, now);
    return tries.wrong(key, now) > 0;
  };
  expect(limited('first', 0)).toBe(true);
  for (let key = 1; key < 9_999; key++) tries.wrong(`k${key}`, 0);
  expect(tries.wrong('first', 0), 'still counted').toBeGreaterThan(0);
  expect(limited('first', 60_000), 'again, and the newest now').toBe(true);
  for (const key of ['the last that has room', 'one more']) tries.wrong(key, 60_000);
  expect(tries.wrong('first', 60_000), 'not the oldest').toBeGreaterThan(0);
  for (let key = 0; key < 10_000; key++) tries.wrong(`n${key}`, 60_000);
  expect(tries.wrong('first', 60_000), 'forgotten').toBe(0);
});

test('of 10,000 keys each is counted, and the next one takes the place of the oldest', () => {
  const tries = new Tries();
  for (let number = 0; number < 11; number++) tries.wrong('oldest', 0);
  for (let key = 1; key < 10_000; key++) tries.wrong(`k${key}`, 0);
  expect(tries.wrong('oldest', 0)).toBeGreaterThan(0);
  tries.wrong('one more', 0);
  expect(tries.wrong('oldest', 0)).toBe(0);
});

/** A store that only ends with an error, and the logins over it. `peeked`: what it was asked. */
function overStore(stored: string | undefined, error: Error) {
  const peeked: [key: string, waiters: boolean][] = [];
  const store: LoginStore = {
    setRendered: () => Promise.reject(error),
    peek: async (key, waiters) => {
      peeked.push([key, waiters]);
      const entries = stored === undefined ? [] : [{ value: stored }];
      return { entries, cursor: 'e-1' } as never;
    },
  };
  return { logins: new Logins(store, secret), peeked };
}
const waiting = () =>
  JSON.stringify({ state: 'waiting', visitor: 'v', show: '1', created: 0, ends: Date.now() + 60_000 });

test('a login that was not stored is not answered as one that was', async () => {
  const { logins } = overStore(undefined, new Unavailable('down'));
  await expect(logins.new('v', 60, '1')).rejects.toThrow('down');
});

test('a step that always finds another one stored before it is given up, and says to try again', async () => {
  const { logins, peeked } = overStore(waiting(), new Conflict('expect', 'e-2'));
  const step = logins.scan('a', 'p');
  await expect(step).rejects.toBeInstanceOf(Unavailable);
  await expect(step).rejects.toThrow('too many steps of this login at the same time: try again');
  // how many requests wait for the record is never asked: no page can watch it
  expect(new Set(peeked.map(([, waiters]) => waiters))).toEqual(new Set([false]));
});

test('rotation: every secret finds the logins that were made with it', async () => {
  const { url: redisUrl } = await redisServer();
  const [old, young] = ['a'.repeat(32), 'b'.repeat(32)];
  const { phone } = await begun({ redisUrl, secret: [old] });
  const both = caller(await service({ redisUrl, secret: [young, old] }));
  const alone = caller(await service({ redisUrl, secret: [young] }));
  expect((await alone('scan', phone)).status).toBe(404);
  expect((await both('scan', phone)).status).toBe(200);
});

describe('in a program', () => {
  class Failing extends MemoryBroker {
    failing = false;
    override async set(...args: Parameters<MemoryBroker['set']>) {
      const receipt = await super.set(...args);
      if (this.failing) throw new Unavailable('stored, and not said so');
      return receipt;
    }
  }

  test('the same five calls, and a call that failed is finished by its repeat', async () => {
    const broker = new Failing({ history: 16 });
    const tagwait = await createTagwait({ broker, secret, logLevel: 'silent' });
    onTestFinished(() => tagwait.close());
    const { login } = tagwait;
    const { key } = await login.new({ visitor: 'v', show: { site: 'a' } });
    const phone = { key, phone: 'p' };
    expect(await login.scan(phone)).toMatchObject({ show: { site: 'a' } });
    broker.failing = true;
    await expect(login.approve({ ...phone, user: 1 })).rejects.toBeInstanceOf(Unavailable);
    broker.failing = false;
    const heard = async () => (await tagwait.peek(key)).entries.map(({ value }) => JSON.parse(value));
    expect(await heard()).toEqual([{ state: 'scanned' }]);
    expect(await login.approve({ ...phone, user: 1 })).toEqual({});
    const { code } = (await heard()).at(-1) as { code: string };
    const claim = { key, code, visitor: 'v' };
    const refused = login.redeem({ ...claim, visitor: 'w' });
    await expect(refused).rejects.toBeInstanceOf(LoginError);
    await expect(refused).rejects.toMatchObject({ reason: 'wrong', code: 'TAGWAIT_LOGIN_WRONG' });
    expect(await login.redeem(claim)).toEqual({ user: 1, phone: 'p' });
    const bad = login.scan({ key } as never);
    await expect(bad).rejects.toBeInstanceOf(TypeError);
    await expect(bad).rejects.toMatchObject({ code: 'TAGWAIT_BAD_REQUEST', message: /phone: give 1 to 256/ });
  });

  test.each([999, 1000, 1001])('show and user of %s levels', async levels => {
    const tagwait = await createTagwait({ secret, logLevel: 'silent' });
    onTestFinished(() => tagwait.close());
    const { login } = tagwait;
    const text = '['.repeat(levels) + ']'.repeat(levels);
    const any = JSON.parse(text) as unknown;
    const refusal = { code: 'TAGWAIT_BAD_REQUEST', message: expect.stringContaining('deeper than 1000') };
    if (levels > 1000) await expect(login.new({ visitor: 'v', show: any })).rejects.toMatchObject(refusal);
    const { key } = await login.new({ visitor: 'v', show: levels > 1000 ? null : any });
    const { show } = await login.scan({ key, phone: 'p' });
    expect(JSON.stringify(show)).toBe(levels > 1000 ? 'null' : text);
    const approved = login.approve({ key, phone: 'p', user: any });
    if (levels > 1000) return expect(approved).rejects.toMatchObject(refusal);
    await approved;
    const { entries } = await tagwait.peek(key);
    const { code } = JSON.parse(entries.at(-1)?.value ?? '') as { code: string };
    const { user } = await login.redeem({ key, code, visitor: 'v' });
    expect(JSON.stringify(user)).toBe(text);
  });

  test('newTicket gives what /status/new gives', async () => {
    const tagwait = await createTagwait({ secret, logLevel: 'silent' });
    const without = await createTagwait({ logLevel: 'silent' });
    for (const one of [tagwait, without]) onTestFinished(() => one.close());
    const { key, proof, expires } = tagwait.newTicket(60);
    expect(verify(secret, key, proof)).toBe(expires);
    expect(Math.abs(expires - Date.now() / 1000 - 60)).toBeLessThan(5);
    expect(tagwait.newTicket().expires - expires).toBeGreaterThan(200);
    expect(() => tagwait.newTicket(-1)).toThrow(/ttl: give seconds/);
    expect(() => without.newTicket()).toThrow(/TAGWAIT_SECRET/);
    await expect(without.login.new({ visitor: 'v' })).rejects.toMatchObject({ code: 'TAGWAIT_LOGIN_OFF' });
  });

  test('calls that wait for the store are limited, and those beyond are Unavailable', async () => {
    const store = {
      setRendered: () => new Promise<never>(() => {}),
      peek: () => new Promise<never>(() => {}),
    };
    const results: string[] = [];
    const metrics = { login: (step: string, result: string) => void results.push(`${step} ${result}`) };
    const { calls } = new LoginRoutes(new Logins(store, secret), metrics, {
      maxValueBytes: 100,
      maxConcurrent: 1,
    });
    void calls.new({ visitor: 'v' });
    await expect(calls.deny({ key: 'a', phone: 'p' })).rejects.toBeInstanceOf(Unavailable);
    expect(results).toEqual(['deny unavailable']);
  });
});

describe('times', () => {
  /** The embedded store, and the clock that the test sets. */
  async function withClock() {
    vi.useFakeTimers({ toFake: ['Date', 'performance', 'setTimeout', 'clearTimeout'] });
    const broker = new MemoryBroker({ history: 1 });
    onTestFinished(async () => {
      await broker.close();
      vi.useRealTimers();
    });
    await broker.start({ entry() {}, gap() {}, drop() {}, held: () => 0, describe: () => ({}) as never });
    const store: LoginStore = {
      setRendered: (...args) => broker.set(...args),
      peek: key => broker.peek(key),
    };
    return { broker, logins: new Logins(store, secret) };
  }

  /** A login that phone p has scanned, and a clock. */
  async function scanned() {
    const { broker, logins } = await withClock();
    const { key } = await logins.new('v', 120, '1');
    const answer = await logins.scan(key, 'p');
    const begun = Date.now();
    const at = (seconds: number) => vi.advanceTimersByTime(begun + seconds * 1000 - Date.now());
    const approve = () => logins.approve(key, 'p', '7');
    const code = async () =>
      (JSON.parse((await broker.peek(key)).entries[0]?.value ?? '') as { code: string }).code;
    const redeem = async () => logins.redeem(key, await code(), 'v', undefined);
    return { logins, key, answer, at, approve, code, redeem };
  }

  test('a code is good for 60 seconds, whatever the end of the login', async () => {
    const { at, approve, redeem } = await scanned();
    at(119);
    await approve();
    at(178.9);
    expect(await redeem()).toMatchObject({ user: '7', phone: 'p' });
  });

  test('each approve renews them and keeps the code, also when they had passed', async () => {
    const { at, approve, redeem, code } = await scanned();
    await approve();
    const first = await code();
    at(60);
    await expect(redeem()).rejects.toMatchObject({ reason: 'expired' });
    at(150);
    await approve();
    at(209);
    expect(await code()).toBe(first);
    expect(await redeem()).toMatchObject({ user: '7' });
    await approve();
    await expect(redeem()).rejects.toMatchObject({ reason: 'redeemed' });
  });

  test('a record is kept for another ttl after the end of its login, and of its code if that is later', async () => {
    const { logins, key, at, approve, code } = await scanned();
    at(119);
    await approve();
    const claimed = await code();
    const late = () => logins.redeem(key, claimed, 'v', undefined);
    at(298.9);
    await expect(late()).rejects.toMatchObject({ reason: 'expired' });
    at(299.1);
    await expect(late()).rejects.toMatchObject({ reason: 'unknown' });
  });

  test('at its end a login can be neither approved nor denied, and the scan is still answered the same', async () => {
    const { logins, key, answer, at, approve } = await scanned();
    at(120);
    await expect(approve()).rejects.toMatchObject({ reason: 'expired' });
    await expect(logins.deny(key, 'p')).rejects.toMatchObject({ reason: 'expired' });
    expect(await logins.scan(key, 'p')).toEqual({ ...answer, repeated: true });
    await expect(logins.scan(key, 'q')).rejects.toMatchObject({ reason: 'taken' });
  });

  test('at the end of a login that no phone has scanned, every step is too late', async () => {
    const { logins } = await withClock();
    const { key } = await logins.new('v', 120, '1');
    vi.setSystemTime(Date.now() + 119_999);
    const steps = [
      () => logins.approve(key, 'p', '7'),
      () => logins.deny(key, 'p'),
      () => logins.redeem(key, 'c', 'v', undefined),
    ];
    for (const [at, reason] of ['unscanned', 'unscanned', 'wrong'].entries())
      await expect(steps[at]?.()).rejects.toMatchObject({ reason });
    vi.setSystemTime(Date.now() + 1);
    for (const step of [...steps, () => logins.scan(key, 'p')])
      await expect(step()).rejects.toMatchObject({ reason: 'expired' });
  });

  test('wrong tries are counted for a minute', () => {
    const tries = new Tries();
    const waits = Array.from({ length: 12 }, () => tries.wrong('a', 1000));
    expect(waits).toEqual([...Array(10).fill(0), 60_000, 60_000]);
    expect(tries.wrong('b', 1000)).toBe(0);
    expect(tries.wrong('a', 61_000)).toBe(0);
  });
});
