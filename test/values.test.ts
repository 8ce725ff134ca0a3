/** What is set is what is heard, or it was refused: of numbers every digit, of text every character. */
import fc from 'fast-check';
import request from 'supertest';
import { beforeAll, describe, expect, test } from 'vitest';
import type { Service } from '../src/service.js';
import { service, set as setHere, until } from './harness.js';
import { request as bytes, raw } from './raw.js';

/** One for all: a property sets hundreds of values. */
let shared: Service;
beforeAll(async () => {
  let stop = async () => {};
  shared = await service({ maxPollsPerIp: 0 }, end => {
    stop = async () => void (await end());
  });
  return stop;
});

type Heard = { status: number; detail?: string; text?: string };
let keys = 0;
/** Sets by a body, and asks as a page does. @returns the JSON text of the value that was heard */
async function hear(type: string, bodyOf: (key: string) => string): Promise<Heard> {
  const key = `k${keys++}`;
  const response = await fetch(`${shared.internalUrl}/status/set`, {
    method: 'POST',
    headers: { 'Content-Type': type },
    body: bodyOf(key),
  });
  const { detail } = (await response.json()) as { detail?: string };
  if (response.status !== 200) return { status: response.status, ...(detail && { detail }) };
  const page = await (await fetch(`${shared.publicUrl}/status/get?key=${key}&hold=0`)).text();
  const [, text = ''] = /"data":(.*),"cursor":"[^"]*"\}$/.exec(page) ?? [];
  return { status: 200, text };
}
const json = (value: string) => hear('application/json', key => `{"key":"${key}","value":${value}}`);
const form = (value: string) =>
  hear('application/x-www-form-urlencoded', key => `key=${key}&value=${encodeURIComponent(value)}`);

describe('JSON', () => {
  test.each([
    ...['9007199254740993', '-9007199254740993', '9223372036854775807', '100000000000000000000000'],
    ...['9007199254740993.0', '9007199254740993e0', '900719925474099.3e1', '90071992547409930e-1'],
    ...['[1,{"a":[9007199254740993]}]', '{"\\"":"\\\\","a":12345678901234567890}'],
  ])('%s is refused: give it as a string', async value => {
    const { status, detail } = await json(value);
    expect([status, detail]).toEqual([400, expect.stringContaining('give it as a string')]);
  });

  test.each([
    ['9007199254740992', '9007199254740992'],
    ['1152921504606846976', '1152921504606846976'],
    ['[72057594037927936,-18446744073709551616]', '[72057594037927936,-18446744073709551616]'],
    ['1e3', '1000'],
    ['12.0', '12'],
    ['1e+300', '1e+300'],
    ['1E23', '1e+23'],
    ['0e999999999', '0'],
    ['1.10', '1.1'],
    ['0.1000000000000000055511151231257827', '0.1'],
    ['"9007199254740993"', '"9007199254740993"'],
    ['{"1e5":"\\\\\\"9007199254740993"}', '{"1e5":"\\\\\\"9007199254740993"}'],
  ])('%s is heard as %s', async (value, text) => {
    expect(await json(value)).toEqual({ status: 200, text });
  });

  /** A number as a fraction of big integers: no double is involved. */
  function exactly(text: string): string {
    const [, sign = '', whole = '', fraction = '', power = '0'] =
      /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/.exec(text) ?? [];
    const exponent = Number(power) - fraction.length;
    const digits = BigInt(whole + fraction);
    if (digits === 0n) return '0';
    const [, short = '', zeros = ''] = /^(\d*?)(0*)$/.exec(String(digits)) ?? [];
    return `${sign}${short}e${exponent + zeros.length}`;
  }
  const integer = (canonical: string) => !canonical.includes('e-');
  const numbersIn = (text: string) => text.replace(/"(?:[^"\\]|\\.)*"/g, '""').match(/-?\d[\d.eE+-]*/g) ?? [];

  test('whatever it is: every number of it is heard with its digits, or it was refused for one that a double cannot hold', async () => {
    const digits = fc.bigInt({ min: 0n, max: 2n ** 70n }).map(String);
    const number = fc.oneof(
      fc.bigInt({ min: -(2n ** 70n), max: 2n ** 70n }).map(String),
      fc
        .tuple(fc.integer({ min: 1, max: 2 ** 20 }), fc.nat(70))
        .map(([n, bits]) => String(BigInt(n) << BigInt(bits))),
      fc.double({ noNaN: true, noDefaultInfinity: true }).map(n => JSON.stringify(n)),
      fc.tuple(digits, digits).map(([whole, fraction]) => `${whole}.${fraction}`),
      fc.tuple(digits, fc.integer({ min: -30, max: 310 })).map(([whole, power]) => `${whole}e${power}`),
    );
    const string = fc.string({ unit: 'binary', maxLength: 8 }).map(text => JSON.stringify(text));
    // names of digits alone would be put first
    const name = fc.string({ unit: 'binary', maxLength: 8 }).map(text => JSON.stringify(`m${text}`));
    const { value } = fc.letrec<{ value: string }>(tie => ({
      value: fc.oneof(
        { depthSize: 'small' },
        number,
        string,
        fc.array(tie('value'), { maxLength: 3 }).map(items => `[${items.join()}]`),
        fc
          .uniqueArray(fc.tuple(name, tie('value')), { maxLength: 3, selector: ([name]) => name })
          .map(members => `{${members.map(([name, item]) => `${name} : ${item}`).join(' , ')}}`),
      ),
    }));
    await fc.assert(
      fc.asyncProperty(value, async text => {
        fc.pre(!text.includes('__proto__'));
        const heard = await json(text);
        const given = numbersIn(text);
        if (heard.status !== 200) {
          const lost = given.some(
            one =>
              !Number.isFinite(Number(one)) ||
              (integer(exactly(one)) && exactly(String(BigInt(Number(one)))) !== exactly(one)),
          );
          expect([heard.status, lost], text).toEqual([400, true]);
          return;
        }
        expect(JSON.parse(heard.text ?? '')).toEqual(JSON.parse(text));
        numbersIn(heard.text ?? '').forEach((one, index) => {
          const was = given[index] as string;
          // what is printed with an exponent, and a fraction, is read as the nearest double by everyone
          const same =
            /e/.test(one) || !integer(exactly(was))
              ? Number(one) === Number(was)
              : exactly(one) === exactly(was);
          expect(same, `${was} heard as ${one} in ${text}`).toBe(true);
        });
      }),
      { numRuns: 100 },
    );
  });
});

describe('forms', () => {
  test.each([
    ...[
      '4200001234202611251234567890',
      '1.10',
      '12e34567',
      '1e400',
      '007',
      '+1',
      '-0',
      '1.',
      '.5',
      '1e21',
      '0x10',
    ],
    ...[
      'NaN',
      'Infinity',
      '-Infinity',
      ' 12',
      '12 ',
      ' true',
      'True',
      'undefined',
      '9007199254740993',
      '',
      'a "b"',
    ],
    ...[
      '[urgent] call me',
      '{name} was here',
      '"a" and "b"',
      '[',
      ' {',
      '"',
      '{"a":',
      '"a',
      '[1,]',
      "['a']",
      '[9007199254740993',
      '"\t"',
    ],
  ])('%s is text', async value => {
    expect(await form(value)).toEqual({ status: 200, text: JSON.stringify(value) });
  });

  test.each([
    ...[
      '0',
      '-1.5',
      '12',
      '9007199254740992',
      '1152921504606847000',
      '1e+21',
      '5e-324',
      'true',
      'false',
      'null',
    ],
    ...['"a"', '[1,2]', '{"a":{"b":1.5}}'],
  ])('%s is JSON', async value => expect(await form(value)).toEqual({ status: 200, text: value }));

  test.each(['{"a":9007199254740993}', '[9007199254740993]', ' {"__proto__":1}', '[1e400]'])(
    '%s is refused',
    async value => expect((await form(value)).status).toBe(400),
  );

  test('whatever text it is: it is heard as it stands, as the JSON that it is, or it was refused', async () => {
    const text = fc.oneof(
      fc.string({ unit: 'binary-ascii' }),
      fc.string({ unit: 'grapheme' }),
      fc.stringMatching(/^[+-]?[\d.]{1,30}(e[+-]?\d{1,3})?$/),
      fc.double().map(String),
      fc.bigInt().map(String),
      fc.jsonValue().map(value => JSON.stringify(value)),
      // what begins as JSON does, and is cut off or goes on
      fc.tuple(fc.jsonValue(), fc.nat(20)).map(([value, cut]) => JSON.stringify(value).slice(0, cut + 1)),
      fc.tuple(fc.constantFrom('[', '{', '"', ' [', '\n"'), fc.string()).map(parts => parts.join('')),
    );
    const jsonIn = (value: string): unknown => {
      try {
        return JSON.parse(value);
      } catch {
        return undefined;
      }
    };
    await fc.assert(
      fc.asyncProperty(text, async value => {
        const heard = await form(value);
        const json = jsonIn(value);
        // an object, array or quoted string is JSON, or refused for what is in it
        if (typeof json === 'object' || typeof json === 'string') {
          if (heard.status === 200) expect(JSON.parse(heard.text ?? '')).toEqual(json);
          else expect(heard.status).toBe(400);
          return;
        }
        expect(heard.status).toBe(200);
        const parsed: unknown = JSON.parse(heard.text ?? '');
        if (typeof parsed === 'string') expect(parsed).toBe(value);
        else expect([heard.text, String(parsed)]).toEqual([value, value]);
      }),
      { numRuns: 100 },
    );
  });
});

test('peek shows the digits that are kept', async () => {
  await setHere(shared.internalUrl, { key: 'big', value: 1 });
  await request(shared.internalUrl)
    .post('/status/set')
    .type('json')
    .send('{"key":"big","value":{"id":1152921504606846976}}');
  const { text } = await request(shared.internalUrl).get('/status/peek?key=big');
  expect(text).toContain('{"value":{"id":1152921504606846976},"cursor":"');
});

test('null counts as not given for ttl, final and id, and for nothing else', async () => {
  const { internalUrl } = await service();
  const body = { key: 'a', value: null, ttl: null, final: null, id: null };
  expect((await setHere(internalUrl, body)).status).toBe(200);
  expect((await setHere(internalUrl, body)).status, 'no id, no repeat, and not final').toBe(200);
  const peek = (await request(internalUrl).get('/status/peek?key=a')).body;
  expect(peek).toMatchObject({ ttl: 300, final: false });
  expect(peek.entries).toHaveLength(2);
  expect((await setHere(internalUrl, { key: 'a', value: 1, expect: null })).status).toBe(400);
  const ticket = await request(internalUrl).post('/status/new').send({ ttl: null });
  expect(ticket.body.detail, 'its ttl is no fault').toContain('TAGWAIT_SECRET');
});

test('a repeat of an id after another set says that it is one', async () => {
  const { publicUrl, internalUrl } = await service();
  const first = await setHere(internalUrl, { key: 'a', value: 'confirmed', id: 'x' });
  expect(first.body).not.toHaveProperty('repeated');
  await setHere(internalUrl, { key: 'a', value: 'refused' });
  const again = await setHere(internalUrl, { key: 'a', value: 'confirmed', id: 'x' });
  expect(again).toEqual({ status: 200, body: { ...first.body, repeated: true } });
  const page = await (await fetch(`${publicUrl}/status/get?key=a&hold=0`)).json();
  expect(page).toMatchObject({ data: 'refused' });
});

test.each<[string, RequestInit]>([
  ['no body', {}],
  ['Content-Length: 0', { body: '' }],
  ['Content-Length: 0 and a type', { body: '', headers: { 'Content-Type': 'application/json' } }],
  ['an empty form', { body: new URLSearchParams() }],
  ['a chunked body of nothing', { body: new Blob([]).stream(), duplex: 'half' } as RequestInit],
  ['[]', { body: '[]', headers: { 'Content-Type': 'application/json' } }],
  ['{}', { body: '{}', headers: { 'Content-Type': 'application/json' } }],
])('POST /status/new with %s makes a ticket of the usual ttl', async (_, init) => {
  const { internalUrl } = await service({ secret: ['s'.repeat(32)] });
  const response = await fetch(`${internalUrl}/status/new`, { method: 'POST', ...init });
  expect(response.status).toBe(200);
  const { expires } = (await response.json()) as { expires: number };
  expect(Math.abs(expires - Date.now() / 1000 - 300)).toBeLessThan(5);
});

describe('chunks with nothing in them, of any type, are no fields', () => {
  test.each([
    ['no type', []],
    ['another type', ['Content-Type: text/plain']],
    ['an encoding', ['Content-Type: application/json', 'Content-Encoding: br']],
  ])('%s', async (_, headers) => {
    const { internalUrl } = await service({ secret: ['s'.repeat(32)] });
    const ask = async (path: string, chunks: string) => {
      const one = raw(internalUrl, bytes(path, [...headers, 'Transfer-Encoding: chunked'], 'POST'));
      one.socket.write(chunks);
      const [, status, body = ''] = await until(() => /^HTTP\/1\.1 (\d+) .*?({.*})$/s.exec(one.text));
      return { status: Number(status), detail: JSON.parse(body).detail };
    };
    const empty = '0\r\n\r\n';
    expect(await ask('/status/new', empty)).toEqual({ status: 200 });
    expect(await ask('/status/set', empty)).toEqual({
      status: 400,
      detail: expect.stringMatching(/^key: .*value: /),
    });
    expect(await ask('/login/new', empty)).toEqual({
      status: 400,
      detail: expect.stringMatching(/^visitor: /),
    });
    for (const path of ['/status/new', '/status/set', '/login/new'])
      expect(await ask(path, `2\r\n{}\r\n${empty}`)).toEqual({
        status: 415,
        detail: expect.stringMatching(/^Content-Type: /),
      });
  });
});
