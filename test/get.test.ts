/** `GET /status/get` over each store: what is answered, and when. */
import { createContext, runInContext } from 'node:vm';
import request from 'supertest';
import { describe, expect, test } from 'vitest';
import type { Config } from '../src/settings.js';
import { held, poll, type Reply, service as serviceOf, set, until } from './harness.js';
import { stores } from './stores.js';

const newKey = () => `k${Math.random().toString(36).slice(2)}`;

describe.each(stores)('over $name', store => {
  const service = async (options: Partial<Config> = {}) =>
    serviceOf({ ...(await store.settings()), ...options });

  test('a held poll hears what is set, in all three forms', async () => {
    const { publicUrl, internalUrl } = await service();
    const key = newKey();
    const asked = ['callback=cb', 'var=answer', ''].map(form =>
      fetch(`${publicUrl}/status/get?key=${key}&${form}`).then(response => response.text()),
    );
    await held(internalUrl, key, 3);
    const { status, body } = await set(internalUrl, { key, value: { name: 'Zoë </script>\u2028' } });
    expect(status).toBe(200);
    expect(body).toEqual({ code: 0, message: 'success', cursor: expect.any(String), watched: true });
    const [call, assignment, json] = (await Promise.all(asked)) as [string, string, string];
    const object = {
      code: 0,
      message: 'success',
      data: { name: 'Zoë </script>\u2028' },
      cursor: body.cursor,
    };
    expect(JSON.parse(json)).toEqual(object);
    const page: Record<string, unknown> = { calls: [] };
    page.window = page;
    runInContext(`function cb(answer) { calls.push(answer) }; ${call}; ${assignment}`, createContext(page));
    expect(JSON.stringify([page.calls, page.answer])).toBe(JSON.stringify([[object], object]));
    expect(assignment).toMatch(/^\/\*\*\/window\.answer=\{.*\};$/);
  });

  test('nothing set: time-out, after the hold and not before, with a cursor to ask again with', async () => {
    const { publicUrl } = await service({ hold: 1 });
    const began = performance.now();
    const reply = await poll(publicUrl, { key: newKey() });
    expect(performance.now() - began).toBeGreaterThan(950);
    expect(reply).toEqual({ code: -1, message: 'timeout', cursor: expect.any(String) });
  });

  test('hold: seconds up to the setting, and 0 answers at once', async () => {
    const { publicUrl } = await service({ hold: 20 });
    expect(await poll(publicUrl, { key: newKey(), hold: '0' })).toMatchObject({ code: -1 });
    expect(await poll(publicUrl, { key: newKey(), hold: '0.8' })).toMatchObject({ code: -1 });
    const brief = await service({ hold: 0.8 });
    expect(await poll(brief.publicUrl, { key: newKey(), hold: '1' })).toMatchObject({ code: -1 });
    expect(await poll(brief.publicUrl, { key: newKey(), hold: '1.1' })).toMatchObject({ code: -4 });
    for (const hold of ['21', '-1', 'x', '1e1', '', '0x1', ' 1', '20.1'])
      expect(await poll(publicUrl, { key: newKey(), hold }), hold).toMatchObject({
        code: -4,
        detail: 'hold: give seconds from 0 to 20',
      });
  });

  test('what was set between two polls comes with the next, newest first, the others in order', async () => {
    const { publicUrl, internalUrl } = await service({ history: 3 });
    const key = newKey();
    const { body } = await set(internalUrl, { key, value: 1 });
    expect(await poll(publicUrl, { key })).toEqual({
      code: 0,
      message: 'success',
      data: 1,
      cursor: body.cursor,
    });
    for (const value of [2, 3]) await set(internalUrl, { key, value });
    const next = await poll(publicUrl, { key, since: body.cursor });
    expect(next).toMatchObject({ data: 3, earlier: [2] });
    expect(next).not.toHaveProperty('lost');
    for (const value of [4, 5, 6, 7, 8]) await set(internalUrl, { key, value });
    expect(await poll(publicUrl, { key, since: next.cursor as string })).toMatchObject({
      data: 8,
      earlier: [6, 7],
      lost: 2,
    });
  });

  test('every page on a key hears every value', async () => {
    const { publicUrl, internalUrl } = await service();
    const key = newKey();
    const pages = Array.from({ length: 5 }, () => poll(publicUrl, { key }));
    await held(internalUrl, key, 5);
    await set(internalUrl, { key, value: 'both' });
    expect((await Promise.all(pages)).map(reply => reply.data)).toEqual(Array(5).fill('both'));
  });

  test('a chain of polls misses nothing and hears nothing twice, while a backend sets', async () => {
    const { publicUrl, internalUrl } = await service({ history: 1000 });
    const key = newKey();
    const heard: unknown[] = [];
    const page = (async () => {
      for (let since = ''; ; ) {
        const reply: Reply = await poll(publicUrl, { key, since });
        since = reply.cursor as string;
        heard.push(...(reply.earlier ?? []), reply.data);
        if (reply.final) return;
      }
    })();
    for (let value = 0; value < 100; value++) await set(internalUrl, { key, value, final: value === 99 });
    await page;
    expect(heard).toEqual(Array.from({ length: 100 }, (_, value) => value));
  });

  test('asking twice with one cursor is harmless', async () => {
    const { publicUrl, internalUrl } = await service();
    const key = newKey();
    await set(internalUrl, { key, value: 1 });
    const [one, two] = await Promise.all([poll(publicUrl, { key }), poll(publicUrl, { key })]);
    expect(one).toEqual(two);
  });

  test('final: said once, then the key has expired, for pages that wait and pages that come', async () => {
    const { publicUrl, internalUrl } = await service();
    const key = newKey();
    const page = poll(publicUrl, { key });
    await held(internalUrl, key, 1);
    await set(internalUrl, { key, value: 'bye', final: true });
    const reply = await page;
    expect(reply).toMatchObject({ code: 0, data: 'bye', final: true });
    expect(await poll(publicUrl, { key, since: reply.cursor as string })).toEqual({
      code: -2,
      message: 'expired',
    });
    expect(await poll(publicUrl, { key })).toMatchObject({ code: 0, data: 'bye', final: true });
    const late = await set(internalUrl, { key, value: 'more' });
    expect(late).toMatchObject({ status: 409, body: { cursor: reply.cursor } });
  });

  test('a key whose time is over is forgotten, and a page with its cursor hears the next life', async () => {
    const { publicUrl, internalUrl } = await service({ hold: 5 });
    const key = newKey();
    const { body } = await set(internalUrl, { key, value: 'old', ttl: 0.05 });
    await until(async () => (await poll(publicUrl, { key, hold: '0' })).code === -1);
    const page = poll(publicUrl, { key, since: body.cursor });
    await held(internalUrl, key, 1);
    await set(internalUrl, { key, value: 'new' });
    expect(await page).toMatchObject({ code: 0, data: 'new' });
  });

  test('a page that goes away is let go at once', async () => {
    const { publicUrl, internalUrl } = await service();
    const key = newKey();
    const leaving = new AbortController();
    const page = poll(publicUrl, { key }, leaving.signal).catch(() => 'gone');
    await held(internalUrl, key, 1);
    leaving.abort();
    expect(await page).toBe('gone');
    await held(internalUrl, key, 0);
    await until(async () => !(await set(internalUrl, { key, value: 1 })).body.watched, { within: 15_000 });
  });

  test('watched: held now, or answered a moment ago', async () => {
    const { publicUrl, internalUrl } = await service();
    const key = newKey();
    expect((await set(internalUrl, { key, value: 0 })).body.watched).toBe(false);
    await poll(publicUrl, { key, hold: '0' });
    const answered = performance.now();
    // for longer than it takes until keys without waiters are looked for, each second
    await until(
      async () => {
        const { watched } = (await set(internalUrl, { key, value: 1 })).body;
        const over = performance.now() > answered + 1500;
        // what a busy machine answers later says nothing
        if (!over) expect(watched).toBe(true);
        return over;
      },
      { every: 100 },
    );
    const page = poll(publicUrl, { key, since: (await poll(publicUrl, { key, hold: '0' })).cursor ?? '' });
    await held(internalUrl, key, 1);
    expect((await set(internalUrl, { key, value: 2 })).body.watched).toBe(true);
    expect((await page).data).toBe(2);
  });

  test('odd but legal keys work', async () => {
    const { publicUrl, internalUrl } = await service();
    for (const key of ['__proto__', 'constructor', '.', 'toString', '~:-_', 'k'.repeat(128)]) {
      const page = poll(publicUrl, { key });
      await held(internalUrl, key, 1);
      await set(internalUrl, { key, value: key.length, ttl: 0.2 });
      expect(await page, key).toMatchObject({ code: 0, data: key.length });
    }
  });
});

describe('what is refused', () => {
  const refusals: [string, string][] = [
    ['', 'key: give 1 to 128 of A-Z a-z 0-9 . _ ~ : -'],
    ['key=', 'key: give 1 to 128'],
    ['key=a%20b', 'key: give 1 to 128'],
    ['key=a/b', 'key: give 1 to 128'],
    [`key=${'k'.repeat(129)}`, 'key: give 1 to 128'],
    ['key=%C3%A9', 'key: give 1 to 128'],
    ['key=a%00', 'key: give 1 to 128'],
    ['key=a&key=a', 'key: give each key once'],
    ['key=a&%6Bey=a', 'key: give each key once'],
    ['key=%ff', 'key: its percent-encoding is broken'],
    [`key=a&since=${'s'.repeat(65)}`, 'since: give the cursor of the last answer'],
    ['key=a&since=<', 'since: give the cursor of the last answer'],
    ['key=a&since=a&since=b', 'since: give it once'],
    ['key=a&hold=soon', 'hold: give seconds from 0 to 25'],
    ['key=a&hold=1&hold=2', 'hold: give it once'],
    ['key=a&poll=', 'poll: give 1 to 32 of A-Z a-z 0-9 _ -'],
    [`key=a&poll=${'p'.repeat(33)}`, 'poll: give 1 to 32 of A-Z a-z 0-9 _ -'],
    ['key=a&drop=a.b', 'drop: give 1 to 32 of A-Z a-z 0-9 _ -'],
    ['key=a&drop=a&drop=b', 'drop: give it once'],
    [`key=a&proof=${'p'.repeat(200)}`, 'proof: give the proof of the ticket'],
  ];

  test.each(refusals)('%s', async (query, detail) => {
    const { publicUrl } = await serviceOf();
    const json = await request(publicUrl).get(`/status/get?${query}`);
    expect(json.status).toBe(400);
    expect(json.body).toMatchObject({ code: -4, message: 'bad request' });
    expect(json.body.detail).toContain(detail);
    const script = await request(publicUrl).get(`/status/get?callback=cb&${query}`);
    expect(script.status).toBe(200);
    expect(script.text).toBe(`/**/typeof cb=="function"&&cb(${json.text});`);
  });

  const badNames = [
    'alert.if',
    'if',
    'a..b',
    '.a',
    'a.',
    'a[0]',
    'a-b',
    '1a',
    'é',
    'a b',
    '',
    'cb;alert(1)',
    'n'.repeat(129),
  ];
  test.each(badNames)('the name "%s": in plain text that repeats nothing', async name => {
    const { publicUrl } = await serviceOf();
    for (const mode of ['callback', 'var']) {
      const reply = await request(publicUrl).get(
        `/status/get?key=a&hold=0&${mode}=${encodeURIComponent(name)}`,
      );
      expect(reply.status).toBe(400);
      expect(reply.type).toBe('text/plain');
      expect(reply.text).toMatch(/^(callback|var): give a JavaScript name of at most 128 characters/);
    }
  });

  test('callback and var at once, or twice', async () => {
    const { publicUrl } = await serviceOf();
    for (const query of ['callback=a&var=b', 'callback=a&callback=a', 'var=a&var=b', 'callback=%ff']) {
      const reply = await request(publicUrl).get(`/status/get?key=a&hold=0&${query}`);
      expect([reply.status, reply.type], query).toEqual([400, 'text/plain']);
    }
  });

  test('unknown parameters and the cache buster are ignored', async () => {
    const { publicUrl } = await serviceOf();
    const reply = await request(publicUrl).get('/status/get?key=a&hold=0&_=1&_=2&utm_source=x&%ff=%ff&&=');
    expect(reply.body.code).toBe(-1);
  });

  test('other methods and paths', async () => {
    const { publicUrl } = await serviceOf();
    const put = await request(publicUrl).put('/status/get?key=a');
    expect([put.status, put.headers.allow]).toEqual([405, 'HEAD, GET, OPTIONS']);
    for (const path of [
      '/',
      '/status/set',
      '/status/peek',
      '/metrics',
      '/nodes',
      '/readyz',
      '/demo',
      '/client/9.9.9.js',
    ])
      expect((await request(publicUrl).get(path)).status, path).toBe(404);
  });
});

describe('headers', () => {
  const common = {
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
    'cross-origin-resource-policy': 'cross-origin',
    'referrer-policy': 'no-referrer',
  };

  test('of a script', async () => {
    const { publicUrl } = await serviceOf();
    for (const form of ['callback=tagwait_1.w1.p1', 'var=x', 'callback=x&since=<']) {
      const { headers, status, text } = await request(publicUrl).get(`/status/get?key=a&hold=0&${form}`);
      expect(status).toBe(200);
      expect(headers).toMatchObject({
        ...common,
        'content-type': 'text/javascript; charset=utf-8',
        'content-disposition': 'attachment; filename=f.txt',
        'content-length': String(Buffer.byteLength(text)),
      });
      expect(headers).not.toHaveProperty('set-cookie');
    }
  });

  test('of JSON, for pages of every origin or of the listed ones', async () => {
    const open = await serviceOf();
    const asked = request(open.publicUrl)
      .get('/status/get?key=a&hold=0')
      .set('Origin', 'https://one.example');
    expect((await asked).headers).toMatchObject({
      ...common,
      'content-type': 'application/json; charset=utf-8',
      'access-control-allow-origin': '*',
    });
    const listed = await serviceOf({ origins: ['https://one.example', 'https://two.example'] });
    const from = (origin: string) =>
      request(listed.publicUrl).get('/status/get?key=a&hold=0').set('Origin', origin);
    const two = await from('https://two.example');
    expect(two.headers).toMatchObject({
      'access-control-allow-origin': 'https://two.example',
      vary: 'Origin',
    });
    expect(two.headers).not.toHaveProperty('access-control-allow-credentials');
    const three = await from('https://three.example');
    expect([three.status, three.body]).toEqual([403, { code: -5, message: 'forbidden' }]);
    expect(three.headers).not.toHaveProperty('access-control-allow-origin');
  });

  test('of the client: revalidated without a version, kept for good with one', async () => {
    const { publicUrl } = await serviceOf();
    const client = await request(publicUrl).get('/client.js');
    expect(client.headers).toMatchObject({
      'content-type': 'text/javascript; charset=utf-8',
      etag: expect.any(String),
    });
    expect(client.headers['cache-control']).toMatch(/must-revalidate|no-cache/);
    const again = await request(publicUrl)
      .get('/client.js')
      .set('If-None-Match', client.headers.etag as string);
    expect([again.status, again.text]).toEqual([304, '']);
    const { version } = await import('../src/assets.js');
    const kept = await request(publicUrl).get(`/client/${version}.js`);
    expect(kept.headers['cache-control']).toContain('immutable');
    expect(kept.text).toBe(client.text);
  });
});
