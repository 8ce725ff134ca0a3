/**
 * Whatever comes in: nothing throws, every answer runs or is a refusal, and what went in comes out.
 * `npm run fuzz` takes longer over it; FUZZ_SEED repeats a run that failed.
 */
import { once } from 'node:events';
import { runInNewContext } from 'node:vm';
import { parse } from 'acorn';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Limits } from '../src/limits.js';
import { CURSOR } from '../src/protocol/cursor.js';
import { assign, call, render } from '../src/protocol/jsonp.js';
import { isName, Names } from '../src/protocol/names.js';
import {
  BadParameter,
  decodeEscapes,
  KEY,
  parseForm,
  parseParameters,
  parseQuery,
} from '../src/protocol/query.js';
import { parseSeveral } from '../src/protocol/several.js';
import { proofOf, verify } from '../src/protocol/ticket.js';
import { KNOWN_HEADERS } from '../src/wire/exchange.js';
import { poll, type Reply, service, set } from './harness.js';
import { raw } from './raw.js';
import { readers } from './readers.js';

const RUNS = Number(process.env.FUZZ_RUNS ?? 300);
const seed = process.env.FUZZ_SEED ? { seed: Number(process.env.FUZZ_SEED) } : {};
/** of a service without TAGWAIT_CALLBACKS */
const names = new Names();
/** @param cost how many of the cheapest runs one of these takes */
const runs = (cost = 1) => ({ numRuns: Math.max(50, Math.ceil(RUNS / cost)), ...seed });
const timeout = 20_000 + RUNS * 20;

const text = fc.oneof(fc.string(), fc.string({ unit: 'binary' }), fc.string({ unit: 'binary-ascii' }));
const WORDS = [
  'if',
  'let',
  'a',
  '$',
  '_1',
  '__proto__',
  'constructor',
  'undefined',
  'NaN',
  'é',
  '',
  '0',
  'x y',
  '\u2028',
];
const name = fc.oneof(
  text,
  fc
    .array(fc.oneof(fc.constantFrom(...WORDS), fc.stringMatching(/^[A-Za-z_$][\w$]{0,20}$/)), {
      maxLength: 8,
    })
    .map(all => all.join('.')),
);
const secret = fc.stringMatching(/^[\x21-\x2b\x2d-\x7e]{1,256}$/);
const key = fc.stringMatching(/^[A-Za-z0-9._~:-]{1,128}$/);
const value = fc.oneof(
  fc.jsonValue(),
  fc.jsonValue({ stringUnit: 'binary' }),
  fc.dictionary(text, fc.jsonValue()),
);

/** Names that every object has by nature: a page that gives one of them gets what it asked for, an error perhaps. */
const NATURAL = new RegExp(`\\b(${Object.getOwnPropertyNames(Object.prototype).join('|')})\\b`);

/** Runs a script in a page that has nothing of what it names. */
function run(script: string): void {
  if (!NATURAL.test(script)) runInNewContext(`var window = this;${script}`);
}

/** Half surrogate pairs have no bytes in UTF-8. */
const wellFormed = (given: string) => Buffer.from(given).toString();

/** An object as JSON has it: without prototype, without -0. */
const plain = (given: unknown) => JSON.parse(JSON.stringify(given)) as unknown;

test(
  'names: what passes is a name in the oldest and the newest script, and calling it throws nothing',
  () => {
    fc.assert(
      fc.property(name, given => {
        if (!isName(given)) return;
        for (const script of [call(given, '{}'), assign(given, '{}')]) {
          parse(script, { ecmaVersion: 3 });
          parse(`"use strict";${script}`, { ecmaVersion: 'latest' });
          parse(script, { ecmaVersion: 'latest', sourceType: 'module' });
        }
        run(call(given, '{}'));
      }),
      runs(),
    );
  },
  timeout,
);

test(
  'values: refused, or the same as JSON and as script, in ASCII without <',
  () => {
    fc.assert(
      fc.property(value, given => {
        let rendered: string;
        try {
          rendered = render(given);
        } catch (error) {
          expect(error).toBeInstanceOf(TypeError);
          expect(JSON.stringify(given)).toContain('"__proto__"');
          return;
        }
        expect(rendered).toMatch(/^[\x20-\x7e]*$/);
        expect(rendered).not.toContain('<');
        expect(JSON.parse(rendered)).toEqual(plain(given));
        expect(JSON.stringify(runInNewContext(`(${rendered})`))).toBe(JSON.stringify(given));
      }),
      runs(),
    );
  },
  timeout,
);

test(
  'proofs: good for their key and expiry, and for nothing else',
  () => {
    const expiry = fc.integer({ min: 1, max: 999_999_999_999 });
    fc.assert(
      fc.property(
        secret,
        secret,
        key,
        key,
        expiry,
        fc.nat(),
        text,
        (one, two, mine, other, expires, place, noise) => {
          const proof = proofOf(one, mine, expires);
          expect(verify([two, one], mine, proof)).toBe(expires);
          if (other !== mine) expect(verify([one], other, proof)).toBeUndefined();
          if (two !== one) expect(verify([two], mine, proof)).toBeUndefined();
          expect(verify([one], mine, noise)).toBeUndefined();
          const at = place % proof.length;
          const changed = proof.slice(0, at) + noise.slice(0, 1) + proof.slice(at + 1);
          if (changed !== proof) expect(verify([one], mine, changed)).toBeUndefined();
        },
      ),
      runs(),
    );
  },
  timeout,
);

test(
  'queries: understood, or refused without repeating them',
  () => {
    const piece = fc.oneof(
      text,
      fc.constantFrom(
        'key=',
        'key=a&key=b&',
        'k',
        '&',
        '=',
        'callback=',
        'callback=cb',
        'var=',
        'since=',
        'hold=',
        'proof=',
        '%',
        '%00',
        '%ff',
        '+',
        '1',
        '%6B',
      ),
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 12 }), pieces => {
        const parameters = parseParameters(pieces.join(''));
        const form = parseForm(parameters, names);
        const several = parameters.further && parseSeveral(parameters, 25);
        const question = several ?? parseQuery(parameters, 25);
        for (const fault of [form, question])
          if (fault instanceof BadParameter)
            expect(fault.message).toMatch(/^(key|callback|var|since|hold|proof|callback, var): /);
        if (!(form instanceof BadParameter))
          expect(form.mode === 'json' || names.allows(form.mode, form.name)).toBe(true);
        if (question instanceof BadParameter) return;
        const keys = several && !(several instanceof BadParameter) ? several.keys : [question];
        for (const { key, since } of keys) {
          expect(key).toMatch(KEY);
          expect(since).toMatch(CURSOR);
        }
        expect(new Set(keys.map(({ key }) => key)).size, 'each key once').toBe(keys.length);
        expect(question.hold).toBeGreaterThanOrEqual(0);
        expect(question.hold).toBeLessThanOrEqual(25);
      }),
      runs(),
    );
  },
  timeout,
);

test(
  'escapes: decoded as decodeURIComponent does, and never thrown at',
  () => {
    const part = fc.oneof(
      fc.integer({ min: 0, max: 255 }).map(byte => `%${byte.toString(16).padStart(2, '0')}`),
      fc.constantFrom('%e0', '%ED', '%f0', '%F4', '%80', '%8f', '%9F', '%a0', '%bf', '%', '%0', 'a', 'é'),
      fc.string({ unit: 'binary', maxLength: 3 }).map(given => encodeURIComponent(wellFormed(given))),
    );
    fc.assert(
      fc.property(fc.array(part, { maxLength: 6 }), parts => {
        const given = parts.join('');
        let known: string | undefined;
        try {
          known = decodeURIComponent(given);
        } catch {}
        expect(decodeEscapes(given)).toBe(known);
      }),
      { ...runs(), numRuns: runs().numRuns * 5 },
    );
  },
  timeout,
);

test(
  'X-Forwarded-For: an address, or the proxy',
  () => {
    const entry = fc.oneof(
      fc.ipV4(),
      fc.ipV6(),
      fc.ipV4Extended(),
      text,
      fc.ipV6().map(ip => `[${ip}]:1`),
    );
    fc.assert(
      fc.property(fc.array(entry), fc.integer({ min: 0, max: 4 }), (entries, trustProxy) => {
        const limits = new Limits({ trustProxy, maxHeldPerKey: 0, maxHeldPerIp: 0, maxPollsPerIp: 0 });
        expect(limits.networkOf('192.0.2.1', entries.join(','))).toMatch(/^(\d+(\.\d+){3}|[\da-f:]+::\/64)$/);
      }),
      runs(),
    );
  },
  timeout,
);

test(
  'what is set comes out, in all three forms, whatever cursor is asked with',
  async () => {
    const { publicUrl, internalUrl } = await service({ maxPollsPerIp: 0, maxKeys: 0 });
    await fc.assert(
      fc.asyncProperty(
        key,
        value,
        fc.oneof(text, fc.stringMatching(/^[A-Za-z0-9._-]{0,64}$/)),
        async (of, given, since) => {
          const { status, body } = await set(internalUrl, { key: of, value: given, ttl: 60 });
          if (status === 400)
            return void expect(`${JSON.stringify(given)} ${body.detail}`).toMatch(
              /"__proto__"|\d{16,}[\s\S]*as a string/,
            );
          expect([status, body.code]).toEqual([200, 0]);
          const reply = await poll(publicUrl, { key: of, since, hold: '0' });
          if (CURSOR.test(since)) expect(reply.data).toEqual(plain(given));
          else expect(reply.code).toBe(-4);
          const query = new URLSearchParams({ key: of, hold: '0', callback: 'cb' });
          const script = await (await fetch(`${publicUrl}/status/get?${query}`)).text();
          let heard = '';
          runInNewContext(script, { cb: (answer: Reply) => (heard = JSON.stringify(answer.data)) });
          expect(JSON.parse(heard)).toEqual(plain(given));
          expect(await poll(publicUrl, { key: of, since: body.cursor, hold: '0' })).toMatchObject({
            code: -1,
          });
        },
      ),
      runs(5),
    );
  },
  timeout,
);

test(
  'whole requests, of bytes that may be anything: an answer that runs, a refusal, or a close',
  async () => {
    const { publicUrl, internalUrl } = await service({
      maxPollsPerIp: 0,
      maxHeldPerIp: 0,
      hold: 0.05,
      secret: ['s'.repeat(32)],
    });
    const junk = fc.oneof(
      text,
      fc.constantFrom('\r\n', '\0', ' ', ':', '%', 'chunked', '0', 'a'.repeat(20_000)),
    );
    const parameter = fc
      .tuple(
        fc.constantFrom('key', 'callback', 'var', 'since', 'hold', 'proof', '_'),
        fc.oneof(name, key, junk),
      )
      .map(([of, given]) => `${of}=${encodeURIComponent(wellFormed(given))}`);
    const target = fc.oneof(
      {
        weight: 4,
        arbitrary: fc.array(parameter, { maxLength: 6 }).map(all => `/status/get?${all.join('&')}`),
      },
      {
        weight: 1,
        arbitrary: fc.constantFrom(
          '/status/set',
          '/client.js',
          '/healthz',
          '*',
          '/',
          '//',
          'http://x/status/get?key=a',
        ),
      },
      { weight: 1, arbitrary: junk },
    );
    const header = fc
      .tuple(
        fc.constantFrom(
          'Content-Length',
          'Transfer-Encoding',
          'Origin',
          'Referer',
          'Sec-Fetch-Dest',
          'X-Forwarded-For',
          'Expect',
          'Connection',
          'Upgrade',
          'If-None-Match',
          'Host',
          'Cookie',
        ),
        fc.oneof(
          junk,
          fc.constantFrom('close', 'keep-alive', '5', 'script', 'null', 'websocket', '100-continue'),
        ),
      )
      .map(([of, given]) => `${of}: ${given}\r\n`);
    const method = fc.oneof(
      { weight: 6, arbitrary: fc.constant('GET') },
      {
        weight: 1,
        arbitrary: fc.oneof(fc.constantFrom('POST', 'HEAD', 'OPTIONS', 'CONNECT', 'TRACE', 'PRI'), junk),
      },
    );

    await fc.assert(
      fc.asyncProperty(
        method,
        target,
        fc.array(header, { maxLength: 4 }),
        junk,
        async (verb, of, headers, body) => {
          const host = headers.some(line => line.startsWith('Host')) ? '' : 'Host: h\r\n';
          const bytes = `${verb} ${of} HTTP/1.1\r\n${host}${headers.join('')}\r\n${body}`;
          const connection = raw(publicUrl, Buffer.from(bytes, 'latin1'));
          await Promise.race([connection.ended, once(connection.socket, 'data')]);
          // asked for by what follows on the same connection, so that what was answered before it is all here
          connection.socket.write('GET /healthz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n');
          await connection.ended;
          for (const answer of connection.text.split(/(?=^HTTP\/1\.1 )/m)) {
            expect(answer).toMatch(
              /^(HTTP\/1\.1 (100|200|204|304|400|403|404|405|408|410|413|417|429|431|501)|$)/,
            );
            const [head = '', content = ''] = answer.split(/\r\n\r\n(.*)/s);
            if (!/text\/javascript/.test(head) || content === '' || !content.startsWith('/**/')) continue;
            const length = Number(/content-length: (\d+)/i.exec(head)?.[1]);
            run(content.slice(0, length));
          }
        },
      ),
      runs(3),
    );
    expect((await fetch(`${publicUrl}/healthz`)).status).toBe(200);
    const nodes = (await (await fetch(`${internalUrl}/nodes`)).json()) as { nodes: [{ held: number }] };
    expect(nodes.nodes[0].held).toBe(0);
  },
  timeout,
);

test(
  'sets of anything: stored, or refused with what is allowed',
  async () => {
    const { internalUrl } = await service({ maxKeys: 50 });
    const types = [
      'application/json',
      'application/x-www-form-urlencoded',
      'text/plain',
      'application/json; charset=utf-16',
      '',
    ];
    const field = fc.constantFrom('key', 'value', 'ttl', 'final', 'expect', 'id', '__proto__', 'x');
    const body = fc.oneof(
      text,
      fc.json(),
      fc.dictionary(field, fc.oneof(fc.jsonValue(), key)).map(fields => JSON.stringify(fields)),
      fc
        .array(fc.tuple(field, text), { maxLength: 5 })
        .map(all => all.map(([of, given]) => `${of}=${encodeURIComponent(wellFormed(given))}`).join('&')),
    );
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...types),
        body,
        fc.constantFrom('/status/set', '/status/new'),
        async (type, given, path) => {
          const init = { method: 'POST', headers: { 'Content-Type': type }, body: Buffer.from(given) };
          const response = await fetch(internalUrl + path, init);
          expect([200, 400, 409, 413, 415, 503]).toContain(response.status);
          const reply = (await response.json()) as Reply;
          if (response.status !== 200) expect(reply.detail).toMatch(/\w/);
        },
      ),
      runs(3),
    );
  },
  timeout,
);

/** mostly as it should be, else as it may be sent to fool one of two readers */
const mostly = (good: string[], bad: string[], weight = 12) =>
  fc.oneof(
    { weight, arbitrary: fc.constantFrom(...good) },
    { weight: 1, arbitrary: fc.constantFrom(...(bad.length > 0 ? bad : good)) },
  );
/** A body with the header that says how long it is. */
const framed = fc
  .tuple(
    fc.constantFrom('none', 'none', 'length', 'chunks'),
    fc.array(fc.constantFrom('a', 'bc', '\r\n\r\n', 'GET /a HTTP/1.1\r\nHost: h\r\n\r\n'), { maxLength: 3 }),
    fc.boolean(),
  )
  .map(([how, parts, upper]) => {
    const whole = parts.join('');
    if (how === 'none') return { header: '', body: '' };
    if (how === 'length') return { header: `Content-Length: ${whole.length}\r\n`, body: whole };
    const size = (part: string) =>
      upper ? `0${part.length.toString(16).toUpperCase()}` : part.length.toString(16);
    const chunks = parts.map(part => `${size(part)}\r\n${part}\r\n`).join('');
    return { header: 'Transfer-Encoding: chunked\r\n', body: `${chunks}0\r\n\r\n` };
  });

/** Streams of requests that every reader takes alike, though not all are for the fast path. */
const cleanRequest = fc
  .record({
    before: mostly([''], ['\r\n', '\r\n\r\n'], 4),
    method: mostly(['GET', 'POST'], ['HEAD', 'OPTIONS', 'PUT', 'DELETE', 'PROPFIND'], 3),
    target: mostly(['/a', '/a?x=1'], ['/', '/b', '/"<>\\^`{|}', '//', 'http://h/a', '*'], 3),
    version: mostly(['1.1'], ['1.0'], 8),
    fields: fc.array(
      fc.constantFrom(
        'Connection: keep-alive',
        'connection:Keep-Alive',
        'Connection: TE',
        'Origin:\thttps://a.example ',
        'Cookie: a=1',
        'X-A_b: Zo\xeb',
        'X-Forwarded-For: 192.0.2.1',
        'Expect: 100-continue',
        'Expect: more',
        'Connection: Upgrade\r\nUpgrade: h2c',
        'SEC-FETCH-DEST: script',
        'X-Empty:',
      ),
      { maxLength: 3 },
    ),
    framed,
  })
  .map(({ before, method, target, version, fields, framed: { header, body } }) => {
    // HTTP/1.0 knows no chunks
    const [extra, content] = version === '1.0' && header.startsWith('T') ? ['', ''] : [header, body];
    const lines = fields.map(field => `${field}\r\n`).join('');
    return `${before}${method} ${target} HTTP/${version}\r\nHost: h\r\n${lines}${extra}\r\n${content}`;
  });

const wildField = fc
  .tuple(
    mostly(
      ['Origin', 'referer', 'SEC-FETCH-DEST', 'Content-Type', 'Authorization', 'Cookie', 'X-A_b'],
      [...KNOWN_HEADERS, 'Expect', 'Trailer', 'Upgrade'],
    ),
    mostly([':', ': ', ':\t'], [' :']),
    fc.oneof(
      fc.constantFrom('keep-alive', 'Close', '0', '3', '03', '+3', '3, 3', 'chunked', '', 'a\x0b', ' \t'),
      fc.string(),
      fc.string({ unit: 'binary-ascii' }),
    ),
    mostly(['\r\n'], ['\n', '\r', ' \r\n', '\r\n ']),
  )
  .map(parts => parts.join(''));
const wildRequest = fc
  .record({
    before: mostly(['', '', '\r\n'], ['\r', '\n', ' ']),
    method: mostly(['GET', 'POST'], ['get', 'HEAD', 'PUT', 'CONNECT', 'PRI', 'G']),
    target: fc.oneof(
      mostly(['/', '/a', '/a?key=a#b', '/"<>\\^`{|}', '//'], ['*', '/a b', '/\x80']),
      fc.stringMatching(/^\/[!-~]*$/),
    ),
    version: mostly(['HTTP/1.1\r\n'], ['HTTP/1.0\r\n', 'HTTP/1.1\n', 'HTTP/1.1 \r\n', 'HTTP/2.0\r\n']),
    host: mostly(['Host: h\r\n', 'hOST:h\r\n'], ['Host:\r\n', 'Host: a\r\nHost: b\r\n']),
    length: mostly(
      ['', '', '', 'Content-Length: 3\r\n', 'content-length:3 \r\n', 'Transfer-Encoding: chunked\r\n'],
      ['Transfer-Encoding: gzip, chunked\r\n', 'Content-Length: 3, 3\r\n'],
    ),
    fields: fc.array(wildField, { maxLength: 2 }),
    body: mostly(
      ['', '', 'abc', '3\r\nabc\r\n0\r\n\r\n'],
      [
        'abcd',
        '\r\n\r\n',
        '3;x=y\r\nabc\r\n0\r\n\r\n',
        '3\r\nabc\r\n0\r\nX: y\r\n\r\n',
        '3 \r\nabc\r\n0\r\n\r\n',
        '0\n\n',
        '3\nabc\n0\r\n\r\n',
        '3\r\nabcd\r\n0\r\n\r\n',
        '-1\r\n',
        'fffffffff\r\n',
      ],
    ),
  })
  .map(
    ({ before, method, target, version, host, length, fields, body }) =>
      `${before}${method} ${target} ${version}${host}${length}${fields.join('')}\r\n${body}`,
  );

/** One connection: its requests, and how their bytes are cut into packets. */
const streamOf = (asked: fc.Arbitrary<string>) =>
  fc.record({
    requests: fc.array(asked, { minLength: 1, maxLength: 4 }),
    cuts: fc.oneof(fc.constant([]), fc.array(fc.nat(2000), { maxLength: 4 }), {
      weight: 1,
      arbitrary: fc.constant('every byte' as const),
    }),
    between: fc.constantFrom('nothing', 'a turn'),
  });
const LAST = 'GET /a?last HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n';

function piecesOf(text: string, cuts: readonly number[] | 'every byte' = []): Buffer[] {
  const bytes = Buffer.from(text, 'latin1');
  const places = cuts === 'every byte' ? [...bytes.keys()] : cuts.map(cut => cut % bytes.length);
  const ends = [...new Set([...places, bytes.length])].filter(end => end > 0).sort((a, b) => a - b);
  return ends.map((end, index) => bytes.subarray(ends[index - 1] ?? 0, end));
}

test.each(['GET', 'POST'] as const)(
  'requests in any mix and any packets are answered as by the HTTP of Node, byte for byte, with %s on the fast path',
  async method => {
    const both = readers(method);
    let fast = 0;
    await fc.assert(
      fc.asyncProperty(streamOf(cleanRequest), async ({ requests, cuts, between }) => {
        const before = both.counts.slow;
        const ours = await both.ours(piecesOf(requests.join('') + LAST, cuts), between);
        // one after the other: of those that come together, Node's HTTP drops the answers when a later one is refused
        const node = await both.node(
          [...requests, LAST].map(text => Buffer.from(text, 'latin1')),
          'all',
        );
        expect(ours).toEqual(node);
        expect(both.open()).toBe(0);
        fast += ours.seen.length - (both.counts.slow - before);
      }),
      runs(4),
    );
    expect(fast).toBeGreaterThan(RUNS / 8);
  },
  timeout,
);

test.each(['GET', 'POST'] as const)(
  'whatever bytes come, nothing is taken for a request that the HTTP of Node does not read there, with %s on the fast path',
  async method => {
    const both = readers(method);
    let alike = 0;
    await fc.assert(
      fc.asyncProperty(streamOf(wildRequest), async ({ requests, cuts, between }) => {
        const pieces = piecesOf(requests.join('') + LAST, cuts);
        const node = await both.node(pieces, 'nothing');
        const ours = await both.ours(pieces, between);
        for (const [index, { head, body }] of ours.seen.entries()) {
          expect(node.seen[index]?.head).toBe(head);
          if (body !== undefined) expect([body, undefined]).toContain(node.seen[index]?.body);
        }
        // fewer are read only where the connection was closed
        if (ours.seen.length < node.seen.length) expect(ours.closed).toBe(true);
        else alike++;
        expect(both.open()).toBe(0);
      }),
      runs(4),
    );
    expect(alike).toBeGreaterThan(RUNS / 8);
  },
  timeout,
);

/** A body in chunks, with extensions and trailers, mostly valid ones. */
const inChunks = fc
  .record({
    method: mostly(['POST'], ['PUT', 'HEAD', 'DELETE'], 4),
    target: mostly(['/a', '/a?x=1'], ['/b', '//'], 3),
    coding: mostly(['chunked'], ['Chunked', 'gzip, chunked', ''], 8),
    version: mostly(['1.1'], ['1.0']),
    sizes: fc.array(
      fc.tuple(
        mostly(['1', '01', '00000000001'], ['2', ' 1', '1 ', '-1', '']),
        mostly(['', ';a', ';a=b', ';a="b c";d'], ['; a', ';a\n', ';\t', ';a\rb']),
        mostly(['\r\n'], ['\n', '\r']),
      ),
      { maxLength: 3 },
    ),
    trailers: fc.array(
      mostly(['X: y\r\n', 'Z:\r\n'], ['X: y\n', 'X y\r\n', 'Content-Length: 3\r\n', ' X\r\n']),
      {
        maxLength: 2,
      },
    ),
    end: mostly(['\r\n'], ['\n', '']),
  })
  .map(({ method, target, coding, version, sizes, trailers, end }) => {
    const chunks = sizes.map(([size, extension, lineEnd]) => `${size}${extension}${lineEnd}x\r\n`);
    const head = `${method} ${target} HTTP/${version}\r\nHost: h\r\nTransfer-Encoding: ${coding}\r\n\r\n`;
    return `${head}${chunks.join('')}0\r\n${trailers.join('')}${end}`;
  });

test(
  'a request that was read whole is answered, whatever its chunks are, what follows, and how the bytes are cut',
  async () => {
    const { ours, open } = readers('POST');
    let whole = 0;
    let closings = 0;
    const stream = streamOf(
      fc.oneof({ weight: 2, arbitrary: inChunks }, cleanRequest, fc.constant('nonsense')),
    );
    await fc.assert(
      fc.asyncProperty(stream, async ({ requests, cuts, between }) => {
        const { seen, text, closed } = await ours(piecesOf(requests.join(''), cuts), between);
        const read = seen.filter(({ body }) => body !== undefined).length;
        expect(text.match(/HTTP\/1\.1 200 /g)?.length ?? 0).toBe(read);
        // a client may send on a connection that the response keeps
        if (closed) expect(text.match(/^Connection: [\w-]+/gm)?.at(-1)).toBe('Connection: close');
        expect(open()).toBe(0);
        whole += read;
        closings += Number(closed);
      }),
      runs(2),
    );
    expect(Math.min(whole, closings)).toBeGreaterThan(RUNS / 8);
  },
  timeout,
);
