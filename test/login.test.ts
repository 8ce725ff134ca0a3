/** The scan login from outside: five calls on the internal port, and what the page hears on the public one. */
import { describe, expect, test } from 'vitest';
import type { Service } from '../src/service.js';
import type { Config } from '../src/settings.js';
import { held, poll, service, until } from './harness.js';
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

  test('a wrong code or visitor uses nothing up; too many are told to wait, and the right one never is', async () => {
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

describe('what the five calls take', () => {
  const text = '1 to 256 characters';
  const refused: [step: string, fields: Record<string, unknown>, detail: string][] = [
    ['new', {}, `visitor: give ${text}`],
    ['new', { visitor: '' }, `visitor: give ${text}`],
    ['new', { visitor: 'x'.repeat(257) }, `visitor: give ${text}`],
    ['new', { visitor: 7 }, `visitor: give ${text}`],
    ['new', { visitor: 'v', ttl: 0 }, 'ttl: give seconds'],
    ['new', { visitor: 'v', key: 'a' }, 'give an object of visitor, ttl, show'],
    ['new', { visitor: 'v', show: 'x'.repeat(20_000) }, 'show: give at most 16384 bytes'],
    ['new', { visitor: 'v', show: { ['__proto__']: 1 } }, 'show: holds an object with a "__proto__" key'],
    ['scan', { phone: 'p' }, 'key: give 1 to 128'],
    ['scan', { key: 'a/b', phone: 'p' }, 'key: give 1 to 128'],
    ['scan', { key: 'a' }, `phone: give ${text}`],
    ['scan', { key: 'a', phone: null }, `phone: give ${text}`],
    ['approve', { key: 'a', phone: 'p' }, 'user: give any JSON'],
    ['approve', { key: 'a', phone: 'p', user: 'x'.repeat(20_000) }, 'user: give at most 16384 bytes'],
    ['deny', { key: 'a', phone: 'p', user: 1 }, 'give an object of key, phone'],
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
    expect(await form('new', { visitor: 'v', show: '{' })).toMatchObject({
      code: 400,
      detail: /show: give JSON/,
    });
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
