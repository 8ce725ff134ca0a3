/** The cost of one request, the limits that count it, and the limit of a key. */
import { STATUS_CODES } from 'node:http';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { QUERY_BYTES } from '../src/protocol/query.js';
import { held, poll, service, set, stopClock, until } from './harness.js';
import { type Raw, raw, request } from './raw.js';
import { scrape } from './scrape.js';

/** The status and text of the one answer that a connection is given. */
async function answered(
  connection: Raw,
  method = 'GET',
): Promise<{ status: number; head: string; body: string }> {
  await until(() => {
    const [head, body] = connection.text.split('\r\n\r\n');
    const length = Number(/^content-length: (\d+)/im.exec(head ?? '')?.[1] ?? 0);
    return body !== undefined && (method === 'HEAD' || body.length >= length);
  });
  const [head = '', body = ''] = connection.text.split('\r\n\r\n');
  return { status: Number(head.split(' ')[1]), head, body };
}

/** Asks as an address of this machine does. The same field twice is what only Node's HTTP reads. */
const ask = (
  url: string,
  target: string,
  { headers = [] as string[], from = '127.0.0.1', method = 'GET' } = {},
) => answered(raw(url, request(target, headers, method), from), method);
const READERS: [string, string[]][] = [
  ['the fast path', []],
  ["Node's HTTP", ['Referer: a', 'Referer: b']],
];

describe.each(READERS)('a query, read by %s', (_, headers) => {
  const get = async (query: string) => {
    const { publicUrl } = await service();
    return ask(publicUrl, `/status/get?${query}`, { headers });
  };
  const long = 'x'.repeat(QUERY_BYTES);
  const detail = `"code":-4,"message":"bad request","detail":"the query: give at most ${QUERY_BYTES} bytes"`;

  test('of 2,048 bytes is answered', async () => {
    const query = 'key=a&hold=0&_=';
    const { status, body } = await get(query + 'x'.repeat(QUERY_BYTES - query.length));
    expect([status, JSON.parse(body).code]).toEqual([200, -1]);
  });

  test.each([
    ['callback=cb&key=a', 200, '/**/typeof cb=="function"&&cb('],
    ['key=a&var=seen', 200, '/**/window.seen='],
    ['key=a', 400, '{'],
  ])('of more is refused in the form that its first 2,048 bytes ask for: %s', async (query, code, begin) => {
    const { status, body } = await get(`${query}&hold=0&_=${long}`);
    expect(status).toBe(code);
    expect(body.startsWith(begin), body).toBe(true);
    expect(body).toContain(detail);
  });

  test('a name that those bytes cut off, or that follows them, is none', async () => {
    const cut = `key=a&_=${'x'.repeat(QUERY_BYTES - 20)}&callback=abcdefghij`;
    for (const query of [cut, `key=a&_=${long}&callback=cb`]) {
      const { status, body } = await get(query);
      expect([status, body.startsWith('{')]).toEqual([400, true]);
    }
  });
});

describe.each(READERS)('the limit of an address, read by %s', (_, headers) => {
  // no second ends while a test runs
  beforeEach(() => void vi.useFakeTimers({ toFake: ['performance'] }));
  afterEach(() => void vi.useRealTimers());

  test.each([
    ['/status/get?key=a&hold=0', 'GET'],
    ['/status/get?key=', 'GET'],
    ['/status/get?key=a&callback=if', 'GET'],
    ['/status/get?key=a&hold=0', 'HEAD'],
    ['/status/get?key=a', 'OPTIONS'],
    ['/status/get?key=a', 'PUT'],
    ['/client.js', 'GET'],
    ['/healthz', 'GET'],
    ['/nothing', 'GET'],
    ['/nothing', 'POST'],
  ])('%s by %s counts as one', async (target, method) => {
    stopClock();
    const { publicUrl } = await service({ maxPollsPerIp: 2 });
    const length = method === 'POST' ? ['Content-Length: 0'] : [];
    const first = await ask(publicUrl, target, { headers: [...headers, ...length], method });
    expect(first.status).not.toBe(429);
    expect((await ask(publicUrl, '/status/get?key=b&hold=0')).status).toBe(200);
    expect((await ask(publicUrl, '/status/get?key=b&hold=0')).status).toBe(429);
  });

  test.each([
    [
      '/status/get?key=a&callback=cb',
      200,
      /^\/\*\*\/typeof cb=="function"&&cb\(\{"code":-3,"message":"busy","retry":\d+\}\);$/,
    ],
    ['/status/get?key=a', 429, /^\{"code":-3,"message":"busy","retry":\d+\}$/],
    ['/status/get?key=a&callback=if', 429, /^busy: ask again after \d+ ms\n$/],
    ['/client.js', 429, /^busy: ask again after \d+ ms\n$/],
    ['/healthz', 429, /^busy: ask again after \d+ ms\n$/],
    ['/nothing', 429, /^busy: ask again after \d+ ms\n$/],
  ])('%s, when it is reached, is answered %i', async (target, code, text) => {
    stopClock();
    const { publicUrl } = await service({ maxPollsPerIp: 1 });
    await ask(publicUrl, '/healthz');
    const { status, body, head } = await ask(publicUrl, target, { headers });
    expect([status, body]).toEqual([code, expect.stringMatching(text)]);
    if (!text.source.startsWith('^busy')) return;
    expect(head).toMatch(/^content-type: text\/plain/im);
    expect(head).toMatch(/^x-content-type-options: nosniff\r?$/im);
    expect(head).toMatch(/^cache-control: no-store\r?$/im);
    const wait = Number(/\d+/.exec(body)?.[0]);
    // a poll says it in its text alone
    if (!target.startsWith('/status/get'))
      expect(Number(/^retry-after: (\d+)/im.exec(head)?.[1])).toBe(Math.ceil(wait / 1000));
  });

  test('a thousand bad names one after the other: refused by limit, and every one is counted', async () => {
    const { publicUrl, internalUrl } = await service({ maxPollsPerIp: 20 });
    const connection = raw(publicUrl);
    const bad = request('/status/get?key=a&callback=if', headers);
    let answers = 0;
    for (let asked = 0; asked < 1000; asked++) {
      connection.socket.write(bad);
      await until(() => (connection.text.match(/^HTTP/gm)?.length ?? 0) > answers, { every: 0 });
      answers++;
      if (connection.text.length > 100_000) {
        answers = 0;
        connection.text = '';
      }
    }
    const samples = await scrape(internalUrl);
    const counted = (answer: string) =>
      samples.get(`tagwait_answers_total{mode="text",answer="${answer}"}`) ?? Number.NaN;
    expect(samples.get('tagwait_polls_total{mode="text"}')).toBe(1000);
    expect(counted('badRequest') + counted('busy')).toBe(1000);
    expect(counted('busy')).toBe(980);
    expect(samples.get('tagwait_limits_reached_total{limit="polls_per_ip"}')).toBe(counted('busy'));
  });
});

describe('a key that has all its waiters', () => {
  const open: Raw[] = [];
  afterEach(() => {
    for (const { socket } of open.splice(0)) socket.destroy();
  });
  const hold = (url: string, from: string, query = 'key=k') => {
    const page = raw(url, request(`/status/get?${query}`), from);
    open.push(page);
    return page;
  };
  const code = ({ text }: Raw) => Number(/"code":(-?\d+)/.exec(text)?.[1] ?? Number.NaN);

  test('the newest page of an address is held, its oldest is answered -1 with a cursor that it may ask with', async () => {
    const { publicUrl, internalUrl } = await service({ maxHeldPerKey: 3 });
    await set(internalUrl, { key: 'k', value: 1 });
    const { cursor = '' } = await poll(publicUrl, { key: 'k' });
    const mine: Raw[] = [];
    const stranger = hold(publicUrl, '127.0.0.9', `key=k&since=${cursor}`);
    await held(internalUrl, 'k', 1);
    for (let page = 0; page < 10; page++) {
      mine.push(hold(publicUrl, '127.0.0.1', `key=k&since=${cursor}`));
      await held(internalUrl, 'k', Math.min(page + 2, 3));
      if (page >= 2) await until(() => mine[page - 2]?.text);
    }
    expect(mine.map(code)).toEqual([...Array(8).fill(-1), Number.NaN, Number.NaN]);
    expect(mine[0]?.text).toContain(`"cursor":"${cursor}"`);
    expect(stranger.text).toBe('');
    await set(internalUrl, { key: 'k', value: 'news' });
    await until(() => [stranger, ...mine.slice(8)].every(page => page.text.includes('"data":"news"')));
  });

  test('a page of another address is busy, and nobody gives way', async () => {
    const { publicUrl, internalUrl } = await service({ maxHeldPerKey: 2 });
    const pages = [hold(publicUrl, '127.0.0.1'), hold(publicUrl, '127.0.0.1')];
    await held(internalUrl, 'k', 2);
    const other = hold(publicUrl, '127.0.0.2');
    await until(() => other.text);
    expect([code(other), ...pages.map(code)]).toEqual([-3, Number.NaN, Number.NaN]);
  });

  test.each([
    ['of the key', { maxHeldPerKey: 1 }],
    ['of the node', { maxHeld: 1 }],
    ['of the address', { maxHeldPerIp: 3 }],
  ])(
    'at the limit %s, a page is handed what is new for it, and is busy when there is nothing',
    async (_, limit) => {
      const { publicUrl, internalUrl } = await service(limit);
      await set(internalUrl, { key: 'k', value: 'there' });
      const { cursor = '' } = await poll(publicUrl, { key: 'k', hold: '0' });
      const here = 'maxHeldPerIp' in limit;
      for (let page = 0; page < (here ? 3 : 1); page++) hold(publicUrl, '127.0.0.7', `key=k&since=${cursor}`);
      await held(internalUrl, 'k', here ? 3 : 1);
      const from = here ? '127.0.0.7' : '127.0.0.2';
      const late = hold(publicUrl, from);
      await until(() => late.text);
      expect(late.text).toContain('"data":"there"');
      const settled = hold(publicUrl, from, `key=k&since=${cursor}`);
      await until(() => settled.text);
      expect(code(settled)).toBe(-3);
    },
  );
});

describe('what browsers send besides', () => {
  test('HEAD is answered at once, without a body, and nothing is held for it', async () => {
    const { publicUrl, internalUrl } = await service();
    for (const headers of [[], ['Referer: a', 'Referer: b']]) {
      const { status, head, body } = await ask(publicUrl, '/status/get?key=k', { headers, method: 'HEAD' });
      expect([status, body]).toEqual([200, '']);
      expect(Number(/^content-length: (\d+)/im.exec(head)?.[1])).toBeGreaterThan(0);
    }
    await held(internalUrl, 'k', 0);
  });

  test.each([
    ['any', [], '*'],
    ['one that is listed', ['https://one.example'], 'https://one.example'],
  ])('a preflight allows every header, for an origin of %s', async (_, origins, allowed) => {
    const { publicUrl } = await service({ origins });
    for (const path of ['/status/get', '/status/events']) {
      const { headers, status } = await fetch(`${publicUrl}${path}?key=k`, {
        method: 'OPTIONS',
        headers: {
          Origin: 'https://one.example',
          'Access-Control-Request-Method': 'GET',
          'Access-Control-Request-Headers': 'authorization,last-event-id,traceparent',
        },
      });
      expect(status).toBe(204);
      expect(headers.get('access-control-allow-headers')).toBe('*, Authorization');
      expect(headers.get('access-control-allow-origin')).toBe(allowed);
    }
  });

  test.each([
    ['empty', 'no-cors', 0],
    ['script', 'no-cors', 0],
    ['empty', 'cors', -5],
    ['empty', 'same-origin', -5],
    ['image', 'no-cors', -5],
  ])('a script for %s by %s', async (destination, mode, expected) => {
    const { publicUrl, internalUrl } = await service();
    await set(internalUrl, { key: 'k', value: 1 });
    for (const [, other] of READERS) {
      const headers = [...other, `Sec-Fetch-Dest: ${destination}`, `Sec-Fetch-Mode: ${mode}`];
      const { body } = await ask(publicUrl, '/status/get?key=k&callback=cb', { headers });
      expect(body).toContain(`"code":${expected}`);
    }
  });
});

describe('the internal port', () => {
  test('peek reads its key and passes the rest over; a query of more than 2,048 bytes is refused', async () => {
    const { internalUrl } = await service();
    const get = async (query: string) => {
      const { status, body } = await ask(internalUrl, `/status/peek?${query}`);
      return [status, JSON.parse(body).detail ?? JSON.parse(body).key];
    };
    expect(await get(`key=c&${'%=&'.repeat(600)}`)).toEqual([200, 'c']);
    expect(await get(`key=c&${'%=&'.repeat(1000)}`)).toEqual([400, 'the query: give at most 2048 bytes']);
    expect(await get('key=c&key=d')).toEqual([400, expect.stringMatching(/^key: /)]);
    expect(await get('key=%ff')).toEqual([400, expect.stringMatching(/^key: /)]);
  });

  test('a form of more fields than there are is refused before they are decoded', async () => {
    const { internalUrl } = await service();
    const body = Array.from({ length: 3000 }, (_, field) => `${field}=%41`).join('&');
    const reply = await fetch(`${internalUrl}/status/set`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/x-www-form-urlencoded' },
      body,
    });
    expect([reply.status, (await reply.json()).detail]).toEqual([400, 'the body: give at most 32 fields']);
  });
});

describe.each(['publicUrl', 'internalUrl'] as const)('the target of a request, on the port of %s', port => {
  const get = async (target: string, headers: string[] = [], method = 'GET') => {
    const { [port]: url } = await service();
    const { status, head, body } = await ask(url, target, { headers, method });
    return [status, /^content-type: ([\w/]+)/im.exec(head)?.[1], body];
  };

  test('of more than 4,096 bytes is refused, when it is no poll', async () => {
    expect((await get(`/healthz?${'x'.repeat(4087)}`))[0]).toBe(200);
    const refused = [414, 'text/plain', 'the target: give at most 4096 bytes\n'];
    expect(await get(`/healthz?${'x'.repeat(4088)}`)).toEqual(refused);
    for (const begin of ['*', '/', '/nothing?', 'http://localhost/'])
      expect(await get(begin + '"'.repeat(15_000), ['Content-Length: 0'], 'POST')).toEqual(refused);
  });

  test.each(['*a', 'healthz', '/healthz#a', '/#""', 'ftp://localhost/healthz', 'http:///healthz'])(
    '%s is none',
    async target => {
      // some of them Node's HTTP refuses by itself, with no more to say
      expect((await get(target))[0]).toBe(400);
    },
  );

  test.each(['http://localhost/healthz', 'HTTP://LOCALHOST:80/healthz?a', 'https://127.0.0.1/healthz'])(
    '%s is read as its path',
    async target => {
      expect(await get(target)).toEqual([200, 'application/json', '{"code":0,"message":"success"}']);
    },
  );

  test.each(['/healthz', '/status/get?key=k&hold=0', '/status/set', '/metrics', '/nothing'])(
    '%s with two Host lines is refused, whatever they say',
    async target => {
      for (const method of ['GET', 'POST'])
        expect((await get(target, ['hOST: localhost', 'Content-Length: 0'], method))[0]).toBe(400);
    },
  );
});

test('a refused target counts for its address, as any other', async () => {
  stopClock();
  const { publicUrl } = await service({ maxPollsPerIp: 1 });
  expect((await ask(publicUrl, '/#')).status).toBe(400);
  expect((await ask(publicUrl, '/#')).status).toBe(429);
});

describe('what costs much in small pieces is refused before it is read', () => {
  const lines = (count: number) => Array.from({ length: count }, () => 'a:');

  test.each(READERS)('more than 256 headers, read by %s', async (_, headers) => {
    const { publicUrl, internalUrl } = await service();
    // with Host, and the request line
    const most = 256 - 2 - headers.length + 1;
    const ends = async (url: string, target: string, count: number) =>
      (await ask(url, target, { headers: [...headers, ...lines(count)] })).status;
    expect(await ends(publicUrl, '/status/get?key=a&hold=0', most)).toBe(200);
    expect(await ends(publicUrl, '/status/get?key=a&hold=0', most + 1)).toBe(431);
    expect(await ends(internalUrl, '/healthz', most)).toBe(200);
    expect(await ends(internalUrl, '/healthz', 3000)).toBe(431);
    const refused = raw(publicUrl, request('/healthz', [...headers, ...lines(most + 1)]));
    await refused.ended;
    expect(refused.text).toBe(`HTTP/1.1 431 ${STATUS_CODES[431]}\r\nConnection: close\r\n\r\n`);
  });

  test('a body in tiny chunks; one in 256 chunks, or in any number of larger ones, is read', async () => {
    const { internalUrl } = await service();
    const send = async (value: string, size: number, parts = 1) => {
      const body = `{"key":"a","value":"${value}"}`;
      const chunks = body
        .match(new RegExp(`.{1,${size}}`, 'gs'))
        ?.map(part => `${part.length.toString(16)}\r\n${part}\r\n`);
      const head = request(
        '/status/set',
        ['Content-Type: application/json', 'Transfer-Encoding: chunked'],
        'POST',
      );
      const text = `${head}${chunks?.join('')}0\r\n\r\n`;
      const connection = raw(internalUrl);
      for (let part = 0; part < parts; part++)
        connection.socket.write(text.slice((part * text.length) / parts, ((part + 1) * text.length) / parts));
      return (await answered(connection)).status;
    };
    expect(await send('x'.repeat(200), 1)).toBe(200);
    expect(await send('x'.repeat(300), 1)).toBe(400);
    expect(await send('x'.repeat(10_000), 16)).toBe(400);
    expect(await send('x'.repeat(10_000), 16, 7)).toBe(400);
    expect(await send('x'.repeat(16_000), 64)).toBe(200);
    expect((await set(internalUrl, { key: 'a', value: 1 })).status).toBe(200);
  });
});
