/** The internal port, route by route: each answer as a whole, what is counted, and what is logged. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import Koa, { type Middleware } from 'koa';
import request from 'supertest';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { Conflict, Unavailable } from '../../src/brokers/broker.js';
import { MemoryBroker } from '../../src/brokers/memory.js';
import { shortHash } from '../../src/log.js';
import type { Logins } from '../../src/login/machine.js';
import { LoginError, type LoginReason, STEPS } from '../../src/login/steps.js';
import { KEY_ALLOWED } from '../../src/protocol/query.js';
import { badRequest, readBody } from '../../src/routes/body.js';
import { guardOf } from '../../src/routes/guard.js';
import { internalRoutes, type OwnPort } from '../../src/routes/internal.js';
import { asLibrary } from '../../src/routes/library.js';
import { listenerOf } from '../../src/routes/listener.js';
import { LoginRoutes, loginStatus } from '../../src/routes/login.js';
import { mediaTypeOf } from '../../src/routes/media-type.js';
import { publicRoutes } from '../../src/routes/public.js';
import { authorizer } from '../../src/routes/set.js';
import { SocketRoute } from '../../src/routes/socket.js';
import type { Exchange } from '../../src/wire/exchange.js';
import { Asked, FORM_BODY, JSON_BODY, SECRET, setOf, turn, world } from './world.js';

const NEVER_KEPT = { 'Cache-Control': 'no-store', 'X-Content-Type-Options': 'nosniff' };
const OF_JSON = { ...NEVER_KEPT, 'Content-Type': 'application/json; charset=utf-8' };
const TOKEN = 't'.repeat(32);
const TOKENS = { setTokens: ['u'.repeat(32), TOKEN] };
const BEARER = { authorization: `Bearer ${TOKEN}` };
const LOST = '9007199254740993';
const REFUSED = { 400: 'bad request', 413: 'too large', 415: 'unsupported media type' };
const MEDIA_TYPES =
  'Content-Type: give application/json or application/x-www-form-urlencoded, not encoded further, and no charset but utf-8 or us-ascii';
const DIGITS = 'holds an integer that a double cannot hold exactly; give it as a string';
const TTL = 'ttl: give seconds, more than 0 and at most 31536000';
const RECEIPT = 'receipt: give seconds from 0 to 10';
const ID = 'id: give 1 to 64 printable ASCII characters without spaces';
const FIELDS = 'key, value, ttl, final, expect, id, receipt';

describe('POST /status/set', () => {
  const own = (body: object) => JSON.stringify({ key: 'k', value: 1, ...body });
  test.each<[body: string | Buffer, status: 400 | 413 | 415, detail: string, headers?: object]>([
    ['', 400, `${KEY_ALLOWED}; value: give any JSON`, {}],
    ['', 400, `${KEY_ALLOWED}; value: give any JSON`, { 'content-length': '0' }],
    ['', 400, `${KEY_ALLOWED}; value: give any JSON`, { 'transfer-encoding': 'chunked' }],
    ['{}', 415, MEDIA_TYPES, { 'transfer-encoding': 'chunked' }],
    ['', 400, `${KEY_ALLOWED}; value: give any JSON`, { ...JSON_BODY, 'transfer-encoding': 'chunked' }],
    ['{}', 415, MEDIA_TYPES, {}],
    ['{}', 415, MEDIA_TYPES, { 'content-type': 'application/jsonp' }],
    ['{}', 415, MEDIA_TYPES, { ...JSON_BODY, 'content-encoding': 'gzip' }],
    ['{', 400, 'the body: give JSON'],
    [Buffer.from([0x22, 0xff, 0x22]), 400, 'the body: give UTF-8'],
    ['1', 400, `the body: give an object of ${FIELDS}`],
    ['null', 400, `the body: give an object of ${FIELDS}`],
    ['[]', 400, `the body: give an object of ${FIELDS}`],
    [own({ more: 1 }), 400, `the body: has a field of another name; there are ${FIELDS}`],
    [own({ key: '' }), 400, KEY_ALLOWED],
    [own({ key: 'k'.repeat(129) }), 400, KEY_ALLOWED],
    [own({ key: 7 }), 400, KEY_ALLOWED],
    ['{"key":"k"}', 400, 'value: give any JSON'],
    // a byte order mark alone
    [Buffer.from([0xef, 0xbb, 0xbf]), 400, `${KEY_ALLOWED}; value: give any JSON`],
    ...[0, -1, 31_536_000.5, ' 1', true, [5]].map(ttl => [own({ ttl }), 400, TTL] as [string, 400, string]),
    ...[-0.1, 10.1, '1e0', [5]].map(receipt => [own({ receipt }), 400, RECEIPT] as [string, 400, string]),
    ...['', 'a b', 'x'.repeat(65), 'é', 7].map(id => [own({ id }), 400, ID] as [string, 400, string]),
    ...['yes', 0, []].map(
      final => [own({ final }), 400, 'final: give true or false'] as [string, 400, string],
    ),
    ...['<', 'x'.repeat(65), null].map(
      expect =>
        [own({ expect }), 400, 'expect: give a cursor, or "" for nothing set yet'] as [string, 400, string],
    ),
    [own({ ttl: -1, id: '' }), 400, `${TTL}; ${ID}`],
    // the field that holds the integer, whatever is before it
    [`{"value":${LOST}}`, 400, `value: ${DIGITS}`],
    [`{"value" : ${LOST}}`, 400, `value: ${DIGITS}`],
    [`{"value":{},"ttl":${LOST}}`, 400, `the body: ${DIGITS}`],
    [`{"value":[],"ttl":${LOST}}`, 400, `the body: ${DIGITS}`],
    [`{"value":[{"ttl":[1]},2],"ttl":${LOST}}`, 400, `the body: ${DIGITS}`],
    [`{"ttl":{"value":${LOST}}}`, 400, `the body: ${DIGITS}`],
    [`{"ttl":["value",${LOST}]}`, 400, `the body: ${DIGITS}`],
    [`{"ttl":"value","a":${LOST}}`, 400, `the body: ${DIGITS}`],
    [`{"value":{"ttl":"}\\"]:"},"show":[${LOST}]}`, 400, `show: ${DIGITS}`],
    [`{"ttl":"\\"value\\":","user":{"ttl":${LOST}}}`, 400, `user: ${DIGITS}`],
    [`{"value":[${LOST}],"ttl":1}`, 400, `value: ${DIGITS}`],
    [`{"values":${LOST}}`, 400, `the body: ${DIGITS}`],
    [LOST, 400, `the body: ${DIGITS}`],
    [own({ value: 'x'.repeat(99) }), 413, 'value: give at most 100 bytes of JSON (TAGWAIT_MAX_VALUE_BYTES)'],
    ['{"key":"k","value":1e400}', 400, 'value: holds a number too large for a double'],
    [`key=k&value=[${LOST}]`, 400, `value: ${DIGITS}`, FORM_BODY],
    [`key=k&value={"user":${LOST}}`, 400, `value: ${DIGITS}`, FORM_BODY],
    ['=1&=2', 400, 'the body: give each field once', FORM_BODY],
    ['key=k&value=1&ttl=1s', 400, TTL, FORM_BODY],
    ['key=k&value=1&ttl=.5', 400, TTL, FORM_BODY],
    ['key=k&value=1&ttl=1.', 400, TTL, FORM_BODY],
    ['key=k&value=1&ttl=', 400, TTL, FORM_BODY],
    ['key=k&value=1&final=1', 400, 'final: give true or false', FORM_BODY],
    ['key=k&value=1&value=1', 400, 'the body: give each field once', FORM_BODY],
    ['key=%ff', 400, 'the body: its percent-encoding is broken; give UTF-8', FORM_BODY],
    ['%ff=1', 400, 'the body: its percent-encoding is broken; give UTF-8', FORM_BODY],
    ['a&'.repeat(33), 400, 'the body: give at most 32 fields', FORM_BODY],
    [`${'a&'.repeat(31)}a`, 400, 'the body: give each field once', FORM_BODY],
  ])('%j: %d %s', async (body, status, detail, headers) => {
    const { post, counted, longpoll, lines } = await world({ maxValueBytes: 100, logLevel: 'debug' });
    const asked = await post(setOf(body, headers));
    expect([asked.status, asked.fields]).toEqual([status, OF_JSON]);
    expect(JSON.parse(asked.text)).toEqual({ code: status, message: REFUSED[status], detail });
    expect(asked.closes, 'the rest of a body is not read').toBe(status === 413);
    expect(counted).toEqual([['set', 'refused']]);
    expect([(await longpoll.peek('k')).entries, lines]).toEqual([[], []]);
  });

  test.each([
    ['[urgent] call me', '"[urgent] call me"'],
    ['{"a":', '"{\\"a\\":"'],
    [' [1]', '[1]'],
    ['a [1]', '"a [1]"'],
  ])('the form value %j is stored as %s', async (value, stored) => {
    const { post, longpoll } = await world();
    await post(setOf(`key=k&value=${encodeURIComponent(value)}`, FORM_BODY));
    expect((await longpoll.peek('k')).entries.map(entry => entry.value)).toEqual([stored]);
  });

  test('a body that cannot be read for another reason than its own fails with that', async () => {
    const headers: Record<string, string> = { ...JSON_BODY, 'content-length': '1' };
    const header = (name: string) => headers[name];
    const broken = { header, body: () => Promise.reject(new Error('no descriptors')) };
    await expect(readBody(broken as unknown as Exchange, 10)).rejects.toThrow('no descriptors');
  });

  test.each<[parameters: string, status: 200 | 415]>([
    ['', 200],
    [';', 200],
    ['; charset=utf-8', 200],
    [';CharSet = "UTF-8" ', 200],
    ['; charset="\\utf-8"', 200],
    ['; charset=utf8', 200],
    ['; charset=US-ASCII', 200],
    ['; q="; charset=utf-16"', 200],
    ['; charset', 200],
    ['; charset=iso-8859-1', 415],
    ['; charset="iso-8859-1"', 415],
    [';x;charset=utf-16le', 415],
    ['; charset=utf-8; charset=gbk', 415],
    ['; q="\\"; charset="; charset=gbk', 415],
    ['; charset="utf-8', 415],
    ['; charset="utf-\\"8', 415],
    ['; charset=', 415],
    ['; charset=utf-8x', 415],
  ])('a type with the parameters %j: %d, on every route with a body', async (parameters, status) => {
    const { to } = await port({ secret: [SECRET] });
    for (const [path, json, form] of [
      ['/status/set', '{"key":"k","value":1}', 'key=k&value=1'],
      ['/status/new', '{}', 'ttl=1'],
      ['/login/new', '{"visitor":"v"}', 'visitor=v'],
    ] as const)
      for (const [{ 'content-type': type }, body] of [
        [JSON_BODY, json],
        [FORM_BODY, form],
      ] as const) {
        const answer = await to.post(path).set('Content-Type', `${type}${parameters}`).send(body);
        expect([path, answer.status], body).toEqual([path, status]);
        if (status === 415) expect(answer.body.detail).toBe(MEDIA_TYPES);
      }
  });

  test('a header of many parameters is read in no time', async () => {
    const times = Array.from({ length: 5 }, () => {
      const began = performance.now();
      for (const part of [';', '; ', ';=', ';="', ';="\\', ';a=" '])
        mediaTypeOf(`application/json${part.repeat(16_384 / part.length)}`);
      return performance.now() - began;
    });
    expect(Math.min(...times)).toBeLessThan(500);
  });

  test('a body of another type is not read', async () => {
    const { post } = await world();
    const asked = setOf('text', { 'content-type': 'text/plain' });
    const read = vi.spyOn(asked, 'body');
    expect((await post(asked)).status).toBe(415);
    expect(read).not.toHaveBeenCalled();
  });

  test('a body of more than six bytes for each of a value is not read', async () => {
    const { post } = await world({ maxValueBytes: 100 });
    for (const [length, status] of [
      [8792, 400],
      [8793, 413],
    ] as const) {
      const asked = setOf('{'.padEnd(length));
      const read = asked.body;
      // as both readers do
      const { BodyError } = await import('../../src/wire/bytes.js');
      asked.body = (...given: unknown[]) => {
        if (length > (given[0] as number)) throw new BodyError('too large');
        return read.call(asked);
      };
      await post(asked);
      expect(asked.status).toBe(status);
      if (status === 413)
        expect(JSON.parse(asked.text).detail).toBe(
          'the body: give at most 8792 bytes, with at most 100 bytes of JSON as value (TAGWAIT_MAX_VALUE_BYTES)',
        );
    }
    const { BodyError } = await import('../../src/wire/bytes.js');
    const early = Object.assign(setOf('{}'), {
      body: () => Promise.reject(new BodyError('ended early')),
    });
    expect(JSON.parse((await post(early)).text)).toMatchObject({ detail: 'the body: it ended early' });
  });

  test.each<[body: string | object, headers: object | undefined, value: string, options: object]>([
    [{ key: 'k', value: 1 }, undefined, '1', { ttl: 600_000 }],
    [{ key: 'k', value: 1 }, { ...JSON_BODY, 'transfer-encoding': 'chunked' }, '1', { ttl: 600_000 }],
    [{ key: 'k', value: null, ttl: 1.5 }, { 'content-type': ' Application/JSON ;q' }, 'null', { ttl: 1500 }],
    [{ key: 'k', value: 'x'.repeat(98), ttl: null }, undefined, `"${'x'.repeat(98)}"`, { ttl: 600_000 }],
    [
      { key: 'k', value: '<é', ttl: 31_536_000, id: '!~', final: true, expect: '', receipt: 2.5 },
      undefined,
      '"\\u003c\\u00e9"',
      { ttl: 31_536_000_000, id: '!~', final: true, expect: '', receipt: 2500 },
    ],
    [
      { key: 'k', value: [], id: null, final: false, receipt: 0 },
      undefined,
      '[]',
      { ttl: 600_000, final: false, receipt: 0 },
    ],
    ['\ufeff{"key":"k","value":1}', undefined, '1', { ttl: 600_000 }],
    [
      'key=k&value=%5B1%5D&ttl=1.5&final=true&receipt=10',
      FORM_BODY,
      '[1]',
      { ttl: 1500, final: true, receipt: 10_000 },
    ],
    ['key=k&value=false&final=false&ttl=10', FORM_BODY, 'false', { ttl: 10_000, final: false }],
    ['key=k&value=true&ttl=1.25', FORM_BODY, 'true', { ttl: 1250 }],
    ['key=k&value=null', FORM_BODY, 'null', { ttl: 600_000 }],
    ['key=k&value', FORM_BODY, '""', { ttl: 600_000 }],
    ['key=k&value=a=b', FORM_BODY, '"a=b"', { ttl: 600_000 }],
    ['key=k&value=say+"hi"', FORM_BODY, '"say \\"hi\\""', { ttl: 600_000 }],
    ['key=k&value=a[1]', FORM_BODY, '"a[1]"', { ttl: 600_000 }],
    ['key=k&value=+[1]', FORM_BODY, '[1]', { ttl: 600_000 }],
    ['key=k&value="a"', FORM_BODY, '"a"', { ttl: 600_000 }],
    ['key=k&value={"a":[]}', FORM_BODY, '{"a":[]}', { ttl: 600_000 }],
    ['key=k&value=1.50', FORM_BODY, '"1.50"', { ttl: 600_000 }],
    ['key=k&value=1152921504606847000', FORM_BODY, '1152921504606847000', { ttl: 600_000 }],
  ])('%j is stored', async (body, headers, value, options) => {
    const { post, counted, longpoll } = await world({ maxValueBytes: 100, ttl: 600 });
    const given: unknown[] = [];
    longpoll.setRendered = async (...all) => {
      given.push(...all);
      return { cursor: 'e-1', watched: false };
    };
    const asked = await post(setOf(body, headers));
    expect([asked.status, asked.fields, asked.closes]).toEqual([200, OF_JSON, false]);
    expect(asked.text).toBe('{"code":0,"message":"success","cursor":"e-1","watched":false}');
    expect(given).toEqual(['k', value, options]);
    expect(counted).toEqual([['set', 'stored']]);
  });

  test.each([
    [{}, ''],
    [{ repeated: true }, ',"repeated":true'],
    [{ received: false }, ',"received":false'],
    [{ repeated: true, received: true }, ',"repeated":true,"received":true'],
  ])('the receipt %j is answered', async (more, text) => {
    const { post, longpoll } = await world();
    longpoll.setRendered = async () => ({ cursor: 'e-7', watched: true, ...more });
    const { text: answered } = await post(setOf({ key: 'k', value: 1 }));
    expect(answered).toBe(`{"code":0,"message":"success","cursor":"e-7","watched":true${text}}`);
  });

  test.each<[error: Error, status: number, text: object, result: string]>([
    [
      new Conflict('expect', 'e-1'),
      409,
      { code: 409, message: 'conflict', detail: 'another value was set first', cursor: 'e-1' },
      'conflict',
    ],
    [new Unavailable('why'), 503, { code: 503, message: 'unavailable', detail: 'why' }, 'unavailable'],
    [new TypeError('a fault'), 500, { code: 500, message: 'failed' }, 'refused'],
  ])('%s is answered, and logged only if nothing expects it', async (error, status, text, result) => {
    const { post, counted, longpoll, lines } = await world({ logLevel: 'debug' });
    longpoll.setRendered = () => Promise.reject(error);
    const asked = await post(setOf({ key: 'k', value: 1 }));
    expect([asked.status, asked.fields, JSON.parse(asked.text), asked.closes]).toEqual([
      status,
      OF_JSON,
      text,
      false,
    ]);
    expect(counted).toEqual([['set', result]]);
    if (status !== 500) return expect(lines).toEqual([]);
    expect(lines).toMatchObject([
      { level: 50, msg: 'a request failed', err: { type: 'TypeError', message: 'a fault' } },
    ]);
    return undefined;
  });

  test('at debug there is a line for each set, and no value in it', async () => {
    const { post, lines, ask, longpoll } = await world({ logLevel: 'debug' });
    await post(setOf({ key: 'secret', value: 'value' }));
    const asked = await ask('key=k');
    await post(setOf({ key: 'k', value: 1 }));
    expect(asked.status).toBe(200);
    const line = { level: 20, time: expect.any(String), node: 'n', msg: 'set' };
    expect(lines.filter(({ msg }) => msg === 'set')).toEqual([
      { ...line, key: shortHash('secret'), bytes: 7, watched: false },
      { ...line, key: shortHash('k'), bytes: 1, watched: true },
    ]);
    longpoll.drain(0);
    const quiet = await world({ logLevel: 'info' });
    await quiet.post(setOf({ key: 'k', value: 1 }));
    expect(quiet.lines).toEqual([]);
  });

  test('more sets than may be under way are refused, until one is done', async () => {
    const { post, set, longpoll, counted } = await world();
    let store: () => void = () => {};
    const stored = new Promise<void>(resolve => {
      store = resolve;
    });
    longpoll.setRendered = () => stored.then(() => ({ cursor: 'e-1', watched: false }));
    const first = [1, 2].map(value => setOf({ key: 'k', value }));
    for (const asked of first) set.handle(asked);
    const third = await post(setOf({ key: 'k', value: 3 }));
    expect([third.status, JSON.parse(third.text)]).toEqual([
      503,
      {
        code: 503,
        message: 'unavailable',
        detail: 'too many sets wait for the store: try again, with the same id',
      },
    ]);
    store();
    await Promise.all(first.map(({ answered }) => answered));
    await turn();
    for (let count = 0; count < 3; count++)
      expect((await post(setOf({ key: 'k', value: 4 }))).status).toBe(200);
    expect(counted[0]).toEqual(['set', 'unavailable']);
  });

  test.each<[headers: object, status: number]>([
    [{}, 401],
    [{ authorization: TOKEN }, 401],
    [{ authorization: `Basic ${TOKEN}` }, 401],
    [{ authorization: `Bearer ${TOKEN}x` }, 401],
    [{ authorization: `Bearer ${TOKEN} x` }, 401],
    [{ authorization: `x Bearer ${TOKEN}` }, 401],
    [{ authorization: `Bearer${TOKEN}` }, 401],
    [BEARER, 200],
    [{ authorization: `bearer   ${'u'.repeat(32)}  ` }, 200],
  ])('with tokens, %j is %d', async (headers, status) => {
    const { post, counted } = await world(TOKENS);
    const asked = await post(setOf({ key: 'k', value: 1 }, { ...JSON_BODY, ...headers }));
    expect([asked.status, asked.closes]).toEqual([status, false]);
    expect(counted).toEqual([['set', status === 200 ? 'stored' : 'unauthorized']]);
    if (status === 200) return expect(asked.fields).toEqual(OF_JSON);
    expect(asked.fields).toEqual({ ...OF_JSON, 'WWW-Authenticate': 'Bearer' });
    return expect(JSON.parse(asked.text)).toEqual({
      code: 401,
      message: 'unauthorized',
      detail: 'Authorization: give Bearer and one of TAGWAIT_SET_TOKENS',
    });
  });

  test('an error of a value that is not about JSON stays as it is', async () => {
    const { set } = await world();
    const mine = new RangeError('mine');
    const value = {
      toJSON() {
        throw mine;
      },
    };
    expect(() => set.store({ key: 'k', value })).toThrow(mine);
  });

  test('without tokens none is asked for', () => expect(authorizer(undefined)('')).toBe(true));

  test('what the guard refuses is counted', async () => {
    const { set, counted } = await world();
    const asked = setOf({ key: 'k', value: 1 }, { ...JSON_BODY, 'sec-fetch-site': 'cross-site' });
    set.handle(asked);
    expect([asked.status, counted]).toEqual([403, [['set', 'refused']]]);
    const away = { address: '192.0.2.1' };
    const other = Object.assign(setOf({ key: 'k', value: 1 }), away);
    set.handle(other);
    expect(other.status, 'without tokens it is for this machine').toBe(403);
    const { post } = await world(TOKENS);
    const far = Object.assign(setOf({ key: 'k', value: 1 }, { ...JSON_BODY, ...BEARER }), away);
    expect((await post(far)).status).toBe(200);
  });
});

describe('the guard', () => {
  const site = 'Sec-Fetch-Site: the internal port is for backends, not for pages of other sites';
  const origin = 'Origin: the internal port is for backends, not for pages of other origins';
  const address = 'address: without TAGWAIT_SET_TOKENS only this machine may ask; set them';
  const host = 'Host: without TAGWAIT_SET_TOKENS give 127.0.0.1, [::1] or localhost';
  const here = '127.0.0.1:11001';
  test.each<[headers: object, open: string | undefined, guarded: string | undefined, address?: string]>([
    [{}, undefined, undefined],
    [{ host: here }, undefined, undefined],
    [{ host: '[::1]:11001' }, undefined, undefined],
    [{ host: 'localhost' }, undefined, undefined],
    [{ host: 'evil.example' }, host, undefined],
    [{ host: 'evil.example:127' }, host, undefined],
    [{ host: '127.0.0.1:11001:1' }, host, undefined],
    [{ host: here }, address, undefined, '192.0.2.1'],
    ...['same-origin', 'none'].map(
      value =>
        [{ host: here, 'sec-fetch-site': value }, undefined, undefined] as [object, undefined, undefined],
    ),
    ...['cross-site', 'same-site', ''].map(
      value => [{ host: here, 'sec-fetch-site': value }, site, site] as [object, string, string],
    ),
    [{ host: here, origin: `http://${here}` }, undefined, undefined],
    [{ host: 'LOCALHOST:80', origin: 'http://localhost' }, undefined, undefined],
    [{ host: 'status.internal', origin: 'https://status.internal' }, host, undefined],
    [{ host: 'status.internal:443', origin: 'https://Status.internal' }, host, undefined],
    [{ host: 'status.internal:443', origin: 'http://status.internal' }, origin, origin],
    [{ host: here, origin: 'http://127.0.0.1' }, origin, origin],
    [{ host: here, origin: 'null' }, origin, origin],
    [{ host: here, origin: 'http://evil.example' }, origin, origin],
    [{ host: '', origin: 'file://' }, origin, origin],
    [{ origin: 'http://localhost' }, origin, origin],
    [{ host: ':', origin: 'http://localhost' }, origin, origin],
    [{ host: 'a b', origin: 'http://localhost' }, origin, origin],
  ])('%j', (headers, open, guarded, from = '127.0.0.1') => {
    for (const [tokens, detail] of [
      [false, open],
      [true, guarded],
    ] as const) {
      const asked = Object.assign(new Asked('/', headers), { address: from });
      expect(guardOf(tokens)(asked)).toBe(detail !== undefined);
      if (detail === undefined) expect(asked.status).toBe(0);
      else {
        expect([asked.status, asked.fields]).toEqual([403, OF_JSON]);
        expect(JSON.parse(asked.text)).toEqual({ code: 403, message: 'forbidden', detail });
      }
    }
  });
});

/** Calls of a login that are answered by the test. */
class Calls {
  readonly given: unknown[][] = [];
  answer: () => Promise<unknown> = async () => ({});
  readonly #take =
    (step: string) =>
    (...all: unknown[]) => {
      this.given.push([step, ...all]);
      return this.answer();
    };
  new = this.#take('new');
  scan = this.#take('scan');
  approve = this.#take('approve');
  deny = this.#take('deny');
  redeem = this.#take('redeem');
}

type Options = Parameters<typeof world>[0] & { own?: Partial<OwnPort['live']> | undefined };

/** The routes of the internal port, as a listener. */
async function port({ own, ...options }: Options = {}, broker?: MemoryBroker) {
  const node = await world(options, broker);
  const calls = new Calls();
  const login = new LoginRoutes(calls as unknown as Logins, node.metrics, {
    maxValueBytes: node.config.maxValueBytes,
    maxConcurrent: 2,
  });
  const live = { page: 'PAGE', client: 'CLIENT', policy: 'POLICY', key: 'live', ...own };
  const poll = node.poll;
  const routes = internalRoutes(node.longpoll, node.set, login, {
    ...node.options,
    scrape: async () => 'METRICS',
    own: own && {
      live: { ...live, poll, now: async () => ({ key: 'live', samples: [] }), ...own },
      publicUrl: () => 'http://public',
    },
  });
  const failures: unknown[] = [];
  const listener = listenerOf(routes, error => failures.push(error));
  return { ...node, calls, login, routes, failures, listener, to: request(listener) };
}

/** The headers of an answer that are not about the connection. */
function fieldsOf({ headers }: request.Response): Record<string, string> {
  const { date: _, connection: __, 'keep-alive': ___, 'content-length': ____, ...more } = headers;
  return more;
}
/** supertest closes each connection otherwise. */
const KEPT = { Connection: 'keep-alive' };
const LOWER = { 'cache-control': 'no-store', 'x-content-type-options': 'nosniff' };
const LOWER_JSON = { ...LOWER, 'content-type': 'application/json; charset=utf-8' };

describe('routes of the internal port', () => {
  test.each<[method: 'get' | 'post', path: string, type: string, body: unknown]>([
    ['get', '/healthz', LOWER_JSON['content-type'], { code: 0, message: 'success' }],
    ['get', '/readyz', LOWER_JSON['content-type'], { code: 0, message: 'success' }],
    ['get', '/metrics', 'text/plain; version=0.0.4; charset=utf-8', 'METRICS'],
    [
      'get',
      '/nodes',
      LOWER_JSON['content-type'],
      { code: 0, nodes: [{ id: 'n', held: 0, version: '0', uptime: expect.any(Number) }] },
    ],
    [
      'get',
      '/status/peek?key=k',
      LOWER_JSON['content-type'],
      {
        code: 0,
        key: 'k',
        entries: [{ value: 9007199254740992, cursor: expect.stringMatching(/^\w+-1$/) }],
        cursor: expect.stringMatching(/^\w+-1$/),
        final: false,
        ttl: 2,
        waiters: {},
      },
    ],
    [
      'post',
      '/status/new',
      LOWER_JSON['content-type'],
      {
        code: 0,
        key: expect.stringMatching(/^[\w-]{22}$/),
        proof: expect.any(String),
        expires: expect.any(Number),
      },
    ],
  ])('%s %s', async (method, path, type, body) => {
    const { to, longpoll } = await port({ secret: [SECRET] });
    await longpoll.setRendered('k', '9007199254740992', { ttl: 1500 });
    const answer = await to[method](path);
    expect([answer.status, fieldsOf(answer)]).toEqual([200, { ...LOWER, 'content-type': type }]);
    if (typeof body === 'string') expect(answer.text).toBe(body);
    else expect(answer.body).toEqual(body);
    if (path.includes('peek')) expect(answer.text).toContain('"value":9007199254740992,');
  });

  const unauthorized = {
    code: 401,
    message: 'unauthorized',
    detail: 'Authorization: give Bearer and one of TAGWAIT_SET_TOKENS',
  };
  test('with tokens all but four ask for one', async () => {
    const { to, counted } = await port({ ...TOKENS, own: {} });
    const bare = ['/healthz', '/readyz', '/metrics', '/', '/client.js'];
    for (const path of bare) expect((await to.get(path)).status, path).toBe(200);
    const paths = ['/nodes', '/status/peek?key=k', '/openapi.json', '/live'].map(path => ['get', path]);
    const posted = ['/status/new', ...STEPS.map(step => `/login/${step}`)].map(path => ['post', path]);
    for (const [method, path] of [...paths, ...posted] as ['get' | 'post', string][]) {
      const answer = await to[method](path).set(KEPT);
      expect([path, answer.status, answer.body]).toEqual([path, 401, unauthorized]);
      expect(fieldsOf(answer)).toEqual({ ...LOWER_JSON, 'www-authenticate': 'Bearer' });
      expect(answer.headers.connection).not.toBe('close');
    }
    expect(counted).toEqual(STEPS.map(step => ['login', step, 'unauthorized']));
    for (const [, path] of paths) expect((await to.get(path as string).set(BEARER)).status, path).toBe(200);
  });

  test.each<[what: string, query: string, detail: string]>([
    ['no key', '', KEY_ALLOWED],
    ['an empty key', '?key=', KEY_ALLOWED],
    ['a key with a space', '?key=a+b', KEY_ALLOWED],
    ['two keys', '?key=a&key=b', 'key: give it once'],
    ['a long query', `?key=a&b=${'x'.repeat(2048)}`, 'the query: give at most 2048 bytes'],
  ])('peek refuses %s', async (_, query, detail) => {
    const { to } = await port();
    const answer = await to.get(`/status/peek${query}`).set(KEPT);
    expect([answer.status, answer.body]).toEqual([400, { code: 400, message: 'bad request', detail }]);
    expect(fieldsOf(answer)).toEqual(LOWER_JSON);
    expect(answer.headers.connection).not.toBe('close');
  });

  test('a body that is too large closes the connection', async () => {
    const { to } = await port({ maxValueBytes: 1000, secret: [SECRET] });
    const answer = await to
      .post('/status/new')
      .set(KEPT)
      .send({ ttl: 1, a: 'x'.repeat(20_000) });
    expect([answer.status, answer.headers.connection]).toEqual([413, 'close']);
    expect(answer.body).toEqual({
      code: 413,
      message: 'too large',
      detail:
        'the body: give at most 14192 bytes, with at most 1000 bytes of JSON as value (TAGWAIT_MAX_VALUE_BYTES)',
    });
  });

  test('a ticket: its end, rounded down to a whole second, and what is refused', async () => {
    vi.useFakeTimers({ toFake: ['Date'], now: 1_700_000_000_250 });
    onTestFinished(() => void vi.useRealTimers());
    const { to } = await port({ secret: [SECRET], ttl: 100 });
    const left = async (body?: object | string) => {
      const { body: made } = await (body === undefined
        ? to.post('/status/new')
        : to.post('/status/new').send(body));
      return made.detail ?? made.expires - 1_700_000_000;
    };
    expect(await left()).toBe(100);
    expect(await left([] as object)).toBe(100);
    expect(await left({ ttl: null })).toBe(100);
    expect(await left({ ttl: 50 })).toBe(50);
    expect(await left({ ttl: 0.75 })).toBe(1);
    expect(await left([1] as object)).toBe('the body: give an object of ttl');
    expect(await left({ ttl: 0 })).toBe(TTL);
    expect(await left({ tll: 1 })).toBe(
      'the body: has a field of another name; there are ttl; did you mean ttl?',
    );
    // what is near is looked for among the first 32
    const many = (count: number) => ({
      ...Object.fromEntries(Array.from({ length: count }, (_, i) => [`x${i}`, 1])),
      tll: 1,
    });
    expect(await left(many(31))).toMatch(/; did you mean ttl\?$/);
    expect(await left(many(32))).toMatch(/; there are ttl$/);
    const without = await port();
    expect((await without.to.post('/status/new')).body).toEqual({
      code: 400,
      message: 'bad request',
      detail: 'tickets need TAGWAIT_SECRET, the same on every node',
    });
  });

  test('ready: not while the node drains, or the store is away', async () => {
    class Away extends MemoryBroker {
      cause: string | undefined;
      up = true;
      override status() {
        return { up: this.up, cause: this.cause, reconnects: 0 };
      }
    }
    const broker = new Away({ history: 1 });
    const { to, longpoll } = await port({}, broker);
    const detail = async () => {
      const { status, body } = await to.get('/readyz');
      expect([status, body.code, body.message]).toEqual([503, 503, 'unavailable']);
      return body.detail;
    };
    broker.up = false;
    expect(await detail()).toBe('the store cannot be reached: connecting');
    broker.cause = 'refused';
    expect(await detail()).toBe('the store cannot be reached: refused');
    broker.up = true;
    expect((await to.get('/readyz')).status).toBe(200);
    longpoll.drain(1000);
    expect(await detail()).toBe('this node is draining');
    expect((await to.get('/healthz')).status).toBe(200);
  });

  test('another host is refused without tokens on known paths; on a port of its own on all', async () => {
    for (const [own, unknown] of [
      [undefined, 404],
      [{}, 403],
    ] as const) {
      const { to } = await port({ own });
      for (const path of ['/healthz', '/nodes'])
        expect((await to.get(path).set('Host', 'evil.example')).status, path).toBe(403);
      expect((await to.get('/unknown').set('Host', 'evil.example')).status).toBe(unknown);
      expect((await to.get('/unknown')).status).toBe(404);
      const guarded = await port({ own, ...TOKENS });
      expect((await guarded.to.get('/healthz').set('Host', 'any.example')).status).toBe(200);
      expect((await guarded.to.get('/healthz').set('Sec-Fetch-Site', 'cross-site')).status).toBe(403);
    }
  });

  test('the description has the version, the hold, and the token if one is needed', async () => {
    for (const [options, bearer] of [
      [{}, undefined],
      [TOKENS, { type: 'http', scheme: 'bearer' }],
    ] as const) {
      const { to } = await port({ hold: 17, ...options });
      const { body } = await to.get('/openapi.json').set(BEARER);
      expect([body.info.version, JSON.stringify(body).includes('17')]).toEqual(['0', true]);
      const schemes = Object.values(body.components.securitySchemes ?? {});
      expect(schemes).toEqual(bearer ? [expect.objectContaining(bearer)] : []);
    }
  });

  test('other methods', async () => {
    const { to } = await port();
    const wrong = await to.get('/status/set');
    expect([wrong.status, wrong.headers.allow]).toEqual([405, 'POST']);
    expect((await to.patch('/status/set')).status).toBe(405);
    expect((await to.trace('/nodes')).status).toBe(501);
  });

  test('the page of a port of its own, its script and its poll', async () => {
    const { to } = await port({ own: {} });
    const page = await to.get('/');
    expect([page.status, page.text, fieldsOf(page)]).toEqual([
      200,
      'PAGE',
      {
        ...LOWER,
        'content-type': 'text/html; charset=utf-8',
        'content-security-policy': 'POLICY',
        'referrer-policy': 'no-referrer',
      },
    ]);
    const script = await to.get('/client.js');
    expect([script.text, fieldsOf(script)]).toEqual([
      'CLIENT',
      { ...LOWER, 'content-type': 'text/javascript; charset=utf-8' },
    ]);
    const live = await to.get('/live');
    expect([live.body, fieldsOf(live)]).toEqual([{ code: 0, key: 'live', samples: [] }, LOWER_JSON]);
    expect((await to.get('/status/get?key=live&hold=0')).body).toMatchObject({ code: -1 });
    const other = await to.get('/status/get?key=k');
    expect([other.status, other.body, fieldsOf(other)]).toEqual([
      404,
      { code: 404, message: 'not found', detail: 'GET /status/get: poll on the public port, http://public' },
      LOWER_JSON,
    ]);
    const none = await port();
    for (const path of ['/', '/client.js', '/live', '/status/get?key=live'])
      expect((await none.to.get(path)).status, path).toBe(404);
  });

  test('an error that no route expects is 500 and reported, and goes nowhere else', async () => {
    const { listener, failures, longpoll } = await port();
    const error = new Error('a fault');
    longpoll.nodes = () => Promise.reject(error);
    const answer = await request(listener).get('/nodes');
    expect([answer.status, answer.text]).toEqual([500, 'Internal Server Error']);
    expect(failures).toEqual([error]);
  });
});

describe('a listener', () => {
  const ours: Middleware = (ctx, next) => {
    if (ctx.path !== '/ours') return next();
    ctx.body = 'ours';
    return undefined;
  };
  test('answers what is its own, and gives the rest to the next, which takes its time', async () => {
    const failures: unknown[] = [];
    const listener = listenerOf(ours, error => failures.push(error));
    const app = (asked: IncomingMessage, response: ServerResponse) =>
      listener(asked, response, async () => {
        await turn();
        await turn();
        response.end(`theirs ${response.statusCode} ${JSON.stringify(response.getHeaders())}`);
      });
    expect((await request(app).get('/ours')).text).toBe('ours');
    const other = await request(app).get('/theirs');
    expect([other.status, other.text]).toEqual([200, 'theirs 200 {}']);
    const alone = await request(listener).get('/theirs');
    expect([alone.status, alone.text]).toEqual([404, 'Not Found']);
    expect(failures).toEqual([]);
  });
});

describe('the calls of a login', () => {
  const fields: Record<string, object> = {
    new: { visitor: 'v' },
    scan: { key: 'k', phone: 'p' },
    approve: { key: 'k', phone: 'p', user: 1 },
    deny: { key: 'k', phone: 'p' },
    redeem: { key: 'k', code: 'c', visitor: 'v' },
  };

  test.each<[reason: LoginReason, status: number, message: string, result: string]>([
    ['unknown', 404, 'not found', 'unknown'],
    ['off', 404, 'not found', 'unknown'],
    ['expired', 410, 'expired', 'expired'],
    ['decided', 410, 'expired', 'expired'],
    ['taken', 409, 'conflict', 'conflict'],
    ['unscanned', 409, 'conflict', 'conflict'],
    ['approved', 409, 'conflict', 'conflict'],
    ['denied', 409, 'conflict', 'conflict'],
    ['redeemed', 409, 'conflict', 'conflict'],
    ['wrong', 403, 'forbidden', 'wrong'],
    ['tries', 429, 'too many tries', 'limited'],
  ])('%s is %d', async (reason, status, message, result) => {
    const { to, calls, counted, login } = await port();
    const retry = reason === 'tries' ? 1234 : undefined;
    const error = new LoginError(reason, retry);
    calls.answer = () => Promise.reject(error);
    expect(loginStatus(error)).toBe(status);
    for (const step of STEPS) {
      const answer = await to.post(`/login/${step}`).send(fields[step]);
      expect([answer.status, answer.body, fieldsOf(answer)]).toEqual([
        status,
        { code: status, message, reason, ...(retry && { retry }), detail: error.message },
        LOWER_JSON,
      ]);
      await expect(login.calls[step](fields[step] as never)).rejects.toBe(error);
    }
    // the same for the route and for the program
    expect(counted).toEqual(STEPS.flatMap(step => Array(2).fill(['login', step, result])));
  });

  const characters = (name: string, min = 1) => `${name}: give ${min} to 256 characters`;
  test.each<[step: (typeof STEPS)[number], more: object, detail: string]>([
    ...(['', 'x'.repeat(257), '\u{1f600}'.repeat(257), 7, null] as const).flatMap(
      (given): [(typeof STEPS)[number], object, string][] => [
        ['new', { visitor: given }, characters('visitor')],
        ['scan', { phone: given }, characters('phone')],
        ['redeem', { visitor: given }, characters('visitor')],
        ...(given === '' ? [] : [['redeem', { code: given }, characters('code', 0)] as never]),
      ],
    ),
    ['new', { a: 1 }, 'the body: has a field of another name; there are visitor, ttl, show'],
    ['new', { ttl: 0 }, TTL],
    ['scan', { a: 1 }, 'the body: has a field of another name; there are key, phone'],
    ['scan', { key: 'a b' }, KEY_ALLOWED],
    ['approve', { a: 1 }, 'the body: has a field of another name; there are key, phone, user, receipt'],
    ['approve', { user: undefined }, 'user: give any JSON'],
    ['approve', { receipt: 11 }, RECEIPT],
    ['approve', { user: 'x'.repeat(99) }, 'user: give at most 100 bytes of JSON (TAGWAIT_MAX_VALUE_BYTES)'],
    ['new', { show: 'x'.repeat(99) }, 'show: give at most 100 bytes of JSON (TAGWAIT_MAX_VALUE_BYTES)'],
    ['deny', { a: 1 }, 'the body: has a field of another name; there are key, phone'],
    ['redeem', { a: 1 }, 'the body: has a field of another name; there are key, code, visitor, id'],
    ['redeem', { id: '' }, ID],
  ])('%s with %j is refused', async (step, more, detail) => {
    const { to, calls } = await port({ maxValueBytes: 100 });
    const answer = await to.post(`/login/${step}`).send({ ...fields[step], ...more });
    const status = detail.includes('bytes') ? 413 : 400;
    expect([answer.status, answer.body]).toEqual([
      status,
      { code: status, message: REFUSED[status], detail },
    ]);
    expect(calls.given).toEqual([]);
  });

  test('256 characters are taken, of two code units each too', async () => {
    const { to } = await port();
    for (const text of ['x'.repeat(256), '\u{1f600}'.repeat(256)])
      expect((await to.post('/login/new').send({ visitor: text })).status).toBe(200);
  });

  test('what a program is answered has no field without a value', async () => {
    const { login } = await port();
    expect(await login.calls.approve({ key: 'k', phone: 'p', user: 1 })).toStrictEqual({});
    expect(await login.calls.deny({ key: 'k', phone: 'p' })).toStrictEqual({});
  });

  test('what is refused before the call', async () => {
    const { to, counted, calls, login } = await port();
    for (const step of STEPS) {
      expect((await to.post(`/login/${step}`).send({})).status, step).toBe(400);
      await expect(login.calls[step]({} as never)).rejects.toMatchObject({
        name: 'TypeError',
        code: 'TAGWAIT_BAD_REQUEST',
      });
    }
    expect(counted).toEqual(STEPS.flatMap(step => Array(2).fill(['login', step, 'refused'])));
    expect(calls.given).toEqual([]);
    for (const [step, field] of [
      ['new', 'show'],
      ['scan', 'value'],
      ['approve', 'user'],
      ['deny', 'value'],
      ['redeem', 'value'],
    ] as const) {
      const answer = await to
        .post(`/login/${step}`)
        .set(KEPT)
        .send({ a: 'x'.repeat(120_000) });
      expect([answer.status, answer.body.detail, answer.headers.connection]).toEqual([
        413,
        expect.stringContaining(`bytes of JSON as ${field} (`),
        'close',
      ]);
    }
  });

  test.each<[step: string, body: object, given: unknown[], answered: object, text: string]>([
    [
      'new',
      { visitor: 'v' },
      ['v', 120, 'null'],
      { key: 'k', proof: 'p', expires: 9 },
      '{"code":0,"key":"k","proof":"p","expires":9}',
    ],
    [
      'new',
      { visitor: 'v', ttl: 7, show: ['<'] },
      ['v', 7, '["\\u003c"]'],
      { key: 'k' },
      '{"code":0,"key":"k"}',
    ],
    [
      'scan',
      { key: 'k', phone: 'p' },
      ['k', 'p'],
      { show: '{"a":9007199254740992}', created: 1999, ends: 3001 },
      '{"code":0,"show":{"a":9007199254740992},"created":1,"expires":4}',
    ],
    ['approve', { key: 'k', phone: 'p', user: 7 }, ['k', 'p', '7', undefined], {}, '{"code":0}'],
    [
      'approve',
      { key: 'k', phone: 'p', user: 7, receipt: 2.5 },
      ['k', 'p', '7', 2500],
      { received: false },
      '{"code":0,"received":false}',
    ],
    ['deny', { key: 'k', phone: 'p' }, ['k', 'p'], {}, '{"code":0}'],
    [
      'redeem',
      { key: 'k', code: '', visitor: 'v', id: 'i' },
      ['k', '', 'v', 'i'],
      { user: '{"id":7}', phone: 'p' },
      '{"code":0,"user":{"id":7},"phone":"p"}',
    ],
    [
      'redeem',
      { key: 'k', code: 'c', visitor: 'v' },
      ['k', 'c', 'v', undefined],
      { user: 'null', phone: 'p' },
      '{"code":0,"user":null,"phone":"p"}',
    ],
  ])('%s %j', async (step, body, given, answered, text) => {
    for (const repeated of step === 'new' ? [false] : [false, true]) {
      const { to, calls, counted } = await port();
      calls.answer = async () => (step === 'new' ? answered : { ...answered, repeated });
      const answer = await to.post(`/login/${step}`).send(body);
      expect([answer.status, answer.text, fieldsOf(answer)]).toEqual([200, text, LOWER_JSON]);
      expect(calls.given).toEqual([[step, ...given]]);
      expect(counted).toEqual([['login', step, repeated ? 'repeated' : 'ok']]);
    }
  });

  test('while the store is away, or too many wait for it', async () => {
    const { to, calls, counted, login, failures } = await port();
    calls.answer = () => Promise.reject(new Unavailable('why'));
    const away = await to.post('/login/deny').send(fields.deny);
    expect([away.status, away.body]).toEqual([503, { code: 503, message: 'unavailable', detail: 'why' }]);
    let end: (answer: unknown) => void = () => {};
    calls.answer = () =>
      new Promise(resolve => {
        end = resolve;
      });
    const waiting = [1, 2].map(() => login.calls.deny({ key: 'k', phone: 'p' }));
    const busy = await to.post('/login/deny').send(fields.deny);
    expect([busy.status, busy.body.detail]).toEqual([503, 'too many logins wait for the store: try again']);
    calls.answer = async () => ({});
    end({});
    await waiting[1];
    expect((await to.post('/login/deny').send(fields.deny)).status).toBe(200);
    calls.answer = () => Promise.reject(new Error('a fault'));
    expect((await to.post('/login/deny').send(fields.deny)).status).toBe(500);
    expect(failures).toHaveLength(1);
    expect(counted).toEqual(
      ['unavailable', 'unavailable', 'ok', 'ok'].map(result => ['login', 'deny', result]),
    );
  });

  test('an error of the library has a status', async () => {
    const code = (name: string) => Object.assign(new TypeError('a'), { code: name });
    expect(loginStatus(code('TAGWAIT_BAD_REQUEST'))).toBe(400);
    expect(loginStatus(new Unavailable('a'))).toBe(503);
    for (const other of [
      code('TAGWAIT_CONFLICT'),
      new TypeError('a'),
      Object.assign(new Error('a'), { code: 'TAGWAIT_BAD_REQUEST' }),
      'text',
      undefined,
    ])
      expect(loginStatus(other)).toBeUndefined();
    const refused = asLibrary(() => {
      throw badRequest('why');
    });
    await expect(refused).rejects.toMatchObject({ message: 'why', code: 'TAGWAIT_BAD_REQUEST' });
  });
});

describe('routes of the public port', () => {
  async function pages(origins: string[] = []) {
    const node = await world({ origins });
    const { longpoll, admissions, metrics } = node;
    const streams = { longpoll, admissions, metrics };
    const scripts = { client: 'CLIENT', 'client/many': 'MANY', login: 'LOGIN', 'login/phone': 'PHONE' };
    const options = { origins, scripts, version: '1.2.3' };
    const routes = publicRoutes(node.poll, streams, new SocketRoute(streams), options);
    const app = new Koa().use(routes);
    app.silent = true;
    return { ...node, to: request(app.callback()) };
  }
  const PREFLIGHT = {
    'access-control-allow-methods': 'GET, HEAD',
    'access-control-allow-headers': '*, Authorization',
    'access-control-max-age': '86400',
    vary: 'Origin',
  };

  test.each<[origins: string[], origin: string | undefined, allowed: string | undefined]>([
    [[], undefined, '*'],
    [[], 'https://evil.example', '*'],
    [['https://shop.example'], undefined, undefined],
    [['https://shop.example'], 'https://evil.example', undefined],
    [['https://shop.example'], 'https://shop.example', 'https://shop.example'],
  ])('a preflight: %j, from %s', async (origins, origin, allowed) => {
    const { to } = await pages(origins);
    for (const path of ['/status/get', '/status/events']) {
      const answer = await (origin ? to.options(path).set('Origin', origin) : to.options(path));
      expect([answer.status, fieldsOf(answer)]).toEqual([
        204,
        { ...PREFLIGHT, ...(allowed && { 'access-control-allow-origin': allowed }) },
      ]);
    }
  });

  const SERVED = {
    'x-content-type-options': 'nosniff',
    'cross-origin-resource-policy': 'cross-origin',
    'access-control-allow-origin': '*',
    etag: expect.stringMatching(/^"[\w-]{22}"$/),
  };
  test.each([
    ['/client.js', 'CLIENT'],
    ['/client/many.js', 'MANY'],
    ['/login.js', 'LOGIN'],
    ['/login/phone.js', 'PHONE'],
  ])('%s', async (path, text) => {
    const { to } = await pages();
    const type = { 'content-type': 'text/javascript; charset=utf-8' };
    const fresh = { ...SERVED, 'cache-control': 'public, max-age=0, must-revalidate' };
    const answer = await to.get(path);
    expect([answer.status, answer.text, fieldsOf(answer)]).toEqual([200, text, { ...fresh, ...type }]);
    const versioned = await to.get(path.replace('.js', '/1.2.3.js'));
    expect([versioned.text, fieldsOf(versioned)]).toEqual([
      text,
      { ...fresh, ...type, 'cache-control': 'public, max-age=31536000, immutable' },
    ]);
    const tag = answer.headers.etag as string;
    const same = await to.get(path).set('If-None-Match', tag);
    expect([same.status, same.text, fieldsOf(same)]).toEqual([304, '', fresh]);
    const at = (length: number) => `"${'x'.repeat(length - tag.length - 4)}", ${tag}`;
    expect((await to.get(path).set('If-None-Match', at(256))).status).toBe(304);
    expect((await to.get(path).set('If-None-Match', at(257))).status).toBe(200);
    expect((await to.get(path).set('If-None-Match', '"other"')).status).toBe(200);
  });

  test('a poll is held, whatever the app does with what has no answer yet', async () => {
    const { to, longpoll } = await pages();
    const asked = to.get('/status/get?key=k').then(({ body }) => body);
    await vi.waitFor(() => expect(longpoll.held).toBe(1), { interval: 1 });
    await turn();
    await longpoll.set('k', 1, { ttl: 1000 });
    expect(await asked).toMatchObject({ code: 0, data: 1 });
  });

  test('health, other methods, other paths', async () => {
    const { to } = await pages();
    const health = await to.get('/healthz');
    expect([health.status, health.body]).toEqual([200, { code: 0, message: 'success' }]);
    const wrong = await to.post('/status/get');
    expect([wrong.status, wrong.headers.allow]).toEqual([405, 'HEAD, GET, OPTIONS']);
    expect((await to.get('/status/set')).status).toBe(404);
    expect((await to.get('/status/get?key=k&hold=0')).body).toMatchObject({ code: -1 });
  });

  test('an address that is for WebSocket only', async () => {
    const { to } = await pages();
    const answer = await to.get('/status/socket');
    expect([answer.status, answer.text, answer.headers.upgrade, answer.headers.connection]).toEqual([
      426,
      'This address is for WebSocket, subprotocol tagwait.1.\n',
      'websocket',
      'Upgrade, close',
    ]);
    expect(answer.headers).toMatchObject({ ...LOWER, 'content-type': 'text/plain; charset=utf-8' });
  });
});
