/** The internal port from outside: requests of backends and operators, and their answers. */
import { connect } from 'node:net';
import request from 'supertest';
import { describe, expect, test } from 'vitest';
import { version } from '../src/assets.js';
import { held, poll, service, set, until } from './harness.js';
import { request as bytes, raw } from './raw.js';
import { scrape } from './scrape.js';

describe('POST /status/set', () => {
  test('takes JSON of every kind, and gives it back as it was', async () => {
    const { publicUrl, internalUrl } = await service();
    const values = [
      null,
      true,
      0,
      -1.5,
      1e300,
      '',
      'é😀\u2028<!--',
      '\ud800',
      [],
      [[]],
      {},
      { a: { b: [1, null] } },
      'x'.repeat(9000),
    ];
    for (const value of values) {
      const key = `k${Math.random()}`;
      expect((await set(internalUrl, { key, value })).status).toBe(200);
      expect((await poll(publicUrl, { key })).data).toEqual(value);
    }
  });

  test('takes forms: JSON in value, or a bare word', async () => {
    const { publicUrl, internalUrl } = await service();
    const cases: [string, unknown][] = [
      ['value=scanned', 'scanned'],
      ['value=%22scanned%22', 'scanned'],
      ['value=%7B%22a%22%3A1%7D', { a: 1 }],
      ['value=12', 12],
      ['value=true', true],
      ['value=', ''],
      ['value=two+words%21', 'two words!'],
      ['value=1&ttl=5&final=true&expect=&id=x', 1],
    ];
    for (const [body, data] of cases) {
      const key = `k${Math.random()}`;
      const reply = await request(internalUrl).post('/status/set').type('form').send(`key=${key}&${body}`);
      expect(reply.status, body).toBe(200);
      expect((await poll(publicUrl, { key })).data, body).toEqual(data);
    }
  });

  const refused: [Record<string, unknown>, string][] = [
    [{ value: 1 }, 'key: give 1 to 128'],
    [{ key: 'a/b', value: 1 }, 'key: give 1 to 128'],
    [{ key: 7, value: 1 }, 'key: give 1 to 128'],
    [{ key: 'a' }, 'value: give any JSON'],
    [{ key: 'a', value: 1, ttl: 0 }, 'ttl: give seconds'],
    [{ key: 'a', value: 1, ttl: -1 }, 'ttl: give seconds'],
    [{ key: 'a', value: 1, ttl: 'soon' }, 'ttl: give seconds'],
    [{ key: 'a', value: 1, ttl: 1e12 }, 'ttl: give seconds'],
    [{ key: 'a', value: 1, final: 'yes' }, 'final: give true or false'],
    [{ key: 'a', value: 1, expect: '<' }, 'expect: give a cursor'],
    [{ key: 'a', value: 1, expect: null }, 'expect: give a cursor'],
    [{ key: 'a', value: 1, id: '' }, 'id: give 1 to 64'],
    [{ key: 'a', value: 1, id: 'x'.repeat(65) }, 'id: give 1 to 64'],
    [
      { key: 'a', value: 1, finale: true },
      'the body: has a field of another name; there are key, value, ttl, final, expect, id, receipt; did you mean final?',
    ],
  ];
  test.each([
    [{ vlaue: 1 }, '; did you mean value?'],
    [{ value: 1, other: 1, TTLS: 1 }, '; did you mean ttl?'],
    [{ value: 1, hunter2: 1 }, ''],
    [{ value: 1, x: 1 }, ''],
    [{ value: 1, ie: 1 }, ''],
  ])(
    '%j: a known name that is near is named, and nothing of the request is repeated',
    async (body, meant) => {
      const { internalUrl } = await service();
      const { detail = '' } = (await set(internalUrl, { key: 'a', ...body })).body;
      const names = 'key, value, ttl, final, expect, id, receipt';
      const fault = `the body: has a field of another name; there are ${names}${meant}`;
      expect(
        detail
          .split('; ')
          .filter(part => part !== 'value: give any JSON')
          .join('; '),
      ).toBe(fault);
    },
  );
  test.each(refused)('refuses %j, naming what is allowed', async (body, detail) => {
    const { internalUrl } = await service();
    const reply = await set(internalUrl, body);
    expect(reply.status).toBe(400);
    expect(reply.body.detail).toContain(detail);
    expect((await request(internalUrl).get('/status/peek?key=a')).body.entries).toEqual([]);
  });

  test('a value may be as long as the limit with every character escaped, as PHP does it', async () => {
    const { internalUrl } = await service({ maxValueBytes: 16_002 });
    const send = (escaped: string) =>
      fetch(`${internalUrl}/status/set`, {
        method: 'POST',
        headers: { 'Content-Type': 'application/json' },
        body: `{"key":"a","value":"${escaped}"}`,
      });
    expect((await send('\\u00e9'.repeat(8000))).status).toBe(200);
    expect((await send('\\u0061'.repeat(16_000))).status).toBe(200);
    expect((await request(internalUrl).get('/status/peek?key=a')).body.entries[0].value).toBe(
      'é'.repeat(8000),
    );
    expect((await send('\\u00e9'.repeat(8001))).status).toBe(413);
  });

  test('names all faults at once', async () => {
    const { internalUrl } = await service();
    const { body } = await set(internalUrl, { key: '', value: 1, ttl: -1, id: '' });
    for (const field of ['key:', 'ttl:', 'id:']) expect(body.detail).toContain(field);
  });

  test('refuses bodies that cannot be read, and stores nothing', async () => {
    const { internalUrl } = await service();
    const send = async (
      type: string,
      body: string | Uint8Array<ArrayBuffer>,
      more: Record<string, string> = {},
    ) => {
      const headers = { 'Content-Type': type, ...more };
      const response = await fetch(`${internalUrl}/status/set`, { method: 'POST', headers, body });
      return { status: response.status, body: (await response.json()) as { detail: string } };
    };
    const LOST = '9007199254740993';
    const cases: [string, string | Uint8Array<ArrayBuffer>, number, string][] = [
      ['application/json', '{"key":"a","value":', 400, 'give JSON'],
      ['application/json', '[]', 400, 'give an object'],
      ['application/json', '"a"', 400, 'give an object'],
      ['application/json', Buffer.from('{"key":"a","value":"\xff"}', 'latin1'), 400, 'give UTF-8'],
      ['application/json', '{"key":"a","value":{"b":[{"__proto__":1}]}}', 400, '__proto__'],
      ['application/json', '{"key":"a","value":1e400}', 400, 'too large for a double'],
      [
        'application/json',
        `{"key":"a","value":${'['.repeat(3000)}${']'.repeat(3000)}}`,
        400,
        'nested deeper than 1000',
      ],
      ['application/json', '{"key":"a","valeu":1,"value":1}', 400, 'the body: has a field of another name'],
      ['application/json', `{"key":"a","value":${LOST}}`, 400, 'value: holds an integer'],
      ['application/json', `{"value":{"id":["\\"}",${LOST}]},"id":"a"}`, 400, 'value: holds an integer'],
      ['application/json', `{"value":1,"ttl":${LOST}}`, 400, 'the body: holds an integer'],
      ['application/x-www-form-urlencoded', `key=a&value=[${LOST}]`, 400, 'value: holds an integer'],
      ['application/x-www-form-urlencoded', 'key=a&value=%ff', 400, 'UTF-8'],
      ['application/x-www-form-urlencoded', 'key=a&key=b&value=1', 400, 'each field once'],
      ['text/plain', 'key=a&value=1', 415, 'application/json or application/x-www-form-urlencoded'],
      ['application/json', JSON.stringify({ key: 'a', value: 'x'.repeat(16383) }), 413, '16384 bytes'],
      ['application/json', JSON.stringify({ key: 'a', value: 'x'.repeat(200_000) }), 413, '16384 bytes'],
      [
        'application/json',
        JSON.stringify({ key: 'a', value: 1, id: 'x'.repeat(200_000) }),
        413,
        'the body: give at most 106496 bytes, with at most 16384 bytes of JSON as value',
      ],
    ];
    for (const [type, body, status, detail] of cases) {
      const reply = await send(type, body);
      expect([reply.status, reply.body.detail], String(body).slice(0, 60)).toEqual([
        status,
        expect.stringContaining(detail),
      ]);
    }
    const encoded = await send('application/json', '{"key":"a","value":1}', { 'Content-Encoding': 'br' });
    expect(encoded.status).toBe(415);
    expect((await request(internalUrl).get('/status/peek?key=a')).body.entries).toEqual([]);
    expect((await set(internalUrl, { key: 'a', value: 'x'.repeat(16382) })).status).toBe(200);
  });

  test('nesting of 1000 levels is stored, of 1001 is not, whatever is inside', async () => {
    const { internalUrl } = await service();
    const nested = async (begin: string, inside: string, end: string, levels: number) => {
      const response = await fetch(`${internalUrl}/status/set`, {
        method: 'POST',
        headers: { 'Content-Type': 'application/json' },
        body: `{"key":"deep","value":${begin.repeat(levels)}${inside}${end.repeat(levels)}}`,
      });
      return response.status;
    };
    for (const [begin, inside, end] of [
      ['[', '', ']'],
      ['[', '1', ']'],
      ['{"a":', '1', '}'],
    ] as const)
      expect([await nested(begin, inside, end, 1000), await nested(begin, inside, end, 1001)]).toEqual([
        200, 400,
      ]);
  });

  test('of a field that a JSON body has twice, the last counts', async () => {
    const { internalUrl } = await service();
    const response = await fetch(`${internalUrl}/status/set`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: '{"key":"first","key":"twice","value":1,"value":{"a":1,"a":2}}',
    });
    expect(response.status).toBe(200);
    const { entries } = (await request(internalUrl).get('/status/peek?key=twice')).body;
    expect(entries).toMatchObject([{ value: { a: 2 } }]);
  });

  test('a body in pieces is read whole, one without end is cut off, one that ends early sets nothing', async () => {
    const { internalUrl } = await service();
    const post = (headers: string[]) =>
      raw(internalUrl, bytes('/status/set', ['Content-Type: application/json', ...headers], 'POST'));
    const pieces = Buffer.from('{"key":"a","value":"é😀"}');
    const slow = post([`Content-Length: ${pieces.length}`]);
    for (const byte of pieces) {
      slow.socket.write(Buffer.of(byte));
      await new Promise(setImmediate);
    }
    await until(() => slow.text.includes('"code":0'));

    const endless = post(['Transfer-Encoding: chunked']);
    const sending = setInterval(() => endless.socket.write(`1000\r\n${' '.repeat(4096)}\r\n`), 1);
    await endless.ended;
    clearInterval(sending);
    expect(endless.text).toMatch(/^HTTP\/1\.1 413 .*16384 bytes/s);

    const early = post([`Content-Length: ${pieces.length}`]);
    await new Promise(sent => early.socket.write(pieces.subarray(0, -1), sent));
    early.socket.destroy();
    const refused = async () => (await scrape(internalUrl)).get('tagwait_sets_total{result="refused"}');
    // a body that is not whole never comes to the route: it is the endless one that was refused
    await until(async () => (await refused()) === 1);
    expect((await request(internalUrl).get('/status/peek?key=a')).body.entries).toMatchObject([
      { value: 'é😀' },
    ]);
  });

  test('expect: of two phones that scan one code, one wins', async () => {
    const { internalUrl } = await service();
    const scan = (phone: string) => set(internalUrl, { key: 'a', value: phone, expect: '' });
    const [one, two] = await Promise.all([scan('one'), scan('two')]);
    expect([one.status, two.status].sort()).toEqual([200, 409]);
    expect(one.body.cursor).toBe(two.body.cursor);
    const confirmed = await set(internalUrl, { key: 'a', value: 'ok', expect: one.body.cursor, final: true });
    expect(confirmed.status).toBe(200);
  });

  test('id: a retry stores nothing and is answered as the first was', async () => {
    const { internalUrl } = await service();
    const first = await set(internalUrl, { key: 'a', value: 1, id: 'try-1', expect: '' });
    expect(await set(internalUrl, { key: 'a', value: 1, id: 'try-1', expect: '' })).toEqual({
      status: 200,
      body: { ...first.body, repeated: true },
    });
    expect((await request(internalUrl).get('/status/peek?key=a')).body.entries).toHaveLength(1);
  });

  test('tokens: everything but health and metrics asks for one of them', async () => {
    const { internalUrl } = await service({ setTokens: ['old-token', 'new-token'] });
    const body = { key: 'a', value: 1 };
    for (const header of [
      {},
      { Authorization: 'Bearer wrong' },
      { Authorization: 'Basic old-token' },
      { Authorization: 'Bearer' },
    ] as Record<string, string>[])
      expect((await set(internalUrl, body, header)).status).toBe(401);
    for (const token of ['old-token', 'new-token'])
      expect((await set(internalUrl, body, { Authorization: `Bearer ${token}` })).status).toBe(200);
    for (const path of ['/status/peek?key=a', '/nodes'])
      expect((await request(internalUrl).get(path)).status, path).toBe(401);
    expect((await request(internalUrl).post('/status/new')).status).toBe(401);
    for (const path of ['/healthz', '/readyz', '/metrics'])
      expect((await request(internalUrl).get(path)).status, path).toBe(200);
  });
});

describe('for operators', () => {
  test('peek: what is stored under a key, and how many requests wait', async () => {
    const { publicUrl, internalUrl } = await service();
    const { body } = await set(internalUrl, { key: 'a', value: { n: 1 }, ttl: 100 });
    const page = poll(publicUrl, { key: 'a', since: body.cursor });
    await held(internalUrl, 'a', 1);
    const [node] = (await request(internalUrl).get('/nodes')).body.nodes;
    const peek = (await request(internalUrl).get('/status/peek?key=a')).body;
    expect(peek).toEqual({
      code: 0,
      key: 'a',
      entries: [{ value: { n: 1 }, cursor: body.cursor }],
      cursor: body.cursor,
      final: false,
      ttl: 100,
      waiters: { [node.id]: 1 },
    });
    await set(internalUrl, { key: 'a', value: 2, final: true });
    await page;
    expect((await request(internalUrl).get('/status/peek?key=a')).body).toMatchObject({
      final: true,
      waiters: {},
    });
    expect((await request(internalUrl).get('/status/peek?key=none')).body).toMatchObject({
      entries: [],
      cursor: '',
      ttl: 0,
    });
    for (const path of ['/status/peek', '/status/peek?key=a/b', '/status/peek?key=a&key=b'])
      expect((await request(internalUrl).get(path)).status, path).toBe(400);
  });

  test('nodes, health, metrics', async () => {
    const { publicUrl, internalUrl } = await service();
    const page = poll(publicUrl, { key: 'a' });
    await held(internalUrl, 'a', 1);
    const nodes = (await request(internalUrl).get('/nodes')).body;
    expect(nodes).toEqual({
      code: 0,
      nodes: [{ id: expect.any(String), held: 1, version, uptime: expect.any(Number) }],
    });
    for (const url of [`${publicUrl}/healthz`, `${internalUrl}/healthz`, `${internalUrl}/readyz`])
      expect((await fetch(url)).status).toBe(200);
    await set(internalUrl, { key: 'a', value: 1 });
    await page;
    const { text, type } = await request(internalUrl).get('/metrics');
    expect(type).toBe('text/plain');
    expect(text).toContain('tagwait_answers_total{mode="json",answer="success"} 1');
    expect(text).toContain('tagwait_sets_total{result="stored"} 1');
    expect(text).toContain('tagwait_held 0');
  });

  test('a body that never ends is not waited for once the page has gone', async () => {
    const { internalUrl } = await service();
    const socket = connect(Number(new URL(internalUrl).port), '127.0.0.1');
    socket.write(
      'POST /status/set HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"key"',
    );
    socket.resume().end();
    await new Promise(resolve => socket.once('close', resolve));
    expect((await set(internalUrl, { key: 'a', value: 1 })).status).toBe(200);
  });
});
