/** Script answers run in other people's pages: each trick is played on a service, and its answer is run. */
import { createContext, runInContext } from 'node:vm';
import { parse } from 'acorn';
import { describe, expect, test } from 'vitest';
import { NAME_ALLOWED } from '../src/protocol/names.js';
import type { Config } from '../src/settings.js';
import { type Reply, service, set } from './harness.js';

/** A page that asks with a script tag. */
async function tag(publicUrl: string, query: Record<string, string>, headers: Record<string, string> = {}) {
  const response = await fetch(`${publicUrl}/status/get?${new URLSearchParams({ hold: '0', ...query })}`, {
    headers,
  });
  return { response, bytes: Buffer.from(await response.arrayBuffer()) };
}

/** Runs a script as a page would, read as `charset`. @returns the page's window, and what its functions were called with */
function run(script: Buffer | string, globals: Record<string, unknown> = {}, charset = 'utf-8') {
  const text = typeof script === 'string' ? script : new TextDecoder(charset).decode(script);
  parse(text, { ecmaVersion: 3, sourceType: 'script' }); // the oldest that a page may be run by
  const page: Record<string, unknown> = { ...globals };
  page.window = page;
  const context = createContext(page);
  const calls = runInContext('var calls = []; function cb(answer) { calls.push(answer) } calls', context);
  runInContext(text, context);
  return {
    page,
    calls: JSON.parse(JSON.stringify(calls)) as Reply[],
    eval: (code: string) => runInContext(code, context),
  };
}

const kept = async (value: unknown, options: Partial<Config> = {}) => {
  const started = await service(options);
  expect((await set(started.internalUrl, { key: 'k', value })).status).toBe(200);
  return started;
};

describe('values', () => {
  const tricks: [string, unknown][] = [
    ['the end of a script', '</script><script>stolen = 1</script>'],
    ['the start of a comment in HTML', '<!--<script>'],
    ['the end of CDATA', ']]><script>'],
    ['the ends of lines that JSON allows and ES3 does not', 'a\u2028b\u2029c\u0085d'],
    ['UTF-7', '+ADw-script+AD4-stolen=1+ADw-/script+AD4-'],
    ['bytes that GBK or Shift_JIS would pair with a quote', '\u0081"\u00fe\\\u00bf'],
    ['a byte order mark', '\ufeff\ufffe'],
    ['half a surrogate pair', '\ud800 \udc00'],
    ['quotes, backslashes and controls', '"\\\'`$\0\b\f\n\r\t\u007f'],
    ['keys that objects have by nature', { constructor: 1, toString: 2, hasOwnProperty: 3, valueOf: null }],
    ['a key that ends a script', { '</script>': '\u2028' }],
    ['words', [true, false, null, -0.5e-300, 'Infinity', '']],
  ];
  test.each(tricks)('what is set comes out the same whatever charset it is read in: %s', async (_, value) => {
    const { publicUrl } = await kept(value);
    const { response, bytes } = await tag(publicUrl, { key: 'k', callback: 'cb' });
    expect([...bytes].every(byte => byte >= 0x20 && byte < 0x7f)).toBe(true);
    expect(bytes.includes('<')).toBe(false);
    expect(response.headers.get('content-type')).toBe('text/javascript; charset=utf-8');
    for (const charset of ['utf-8', 'windows-1252', 'gbk', 'shift_jis', 'iso-2022-jp']) {
      const { page, calls } = run(bytes, {}, charset);
      expect(calls).toMatchObject([{ code: 0, data: value }]);
      expect(page).not.toHaveProperty('stolen');
    }
    const assigned = await tag(publicUrl, { key: 'k', var: 'answer' });
    expect(JSON.parse(JSON.stringify(run(assigned.bytes).page.answer))).toMatchObject({ data: value });
  });

  test('__proto__, however it is written and however deep, is refused before anything is stored', async () => {
    const { publicUrl, internalUrl } = await service();
    for (const json of [
      '{"__proto__":{"admin":true}}',
      '[[{"a":{"\\u005f_proto__":1}}]]',
      '{"__proto__":null}',
    ]) {
      const response = await fetch(`${internalUrl}/status/set`, {
        method: 'POST',
        headers: { 'Content-Type': 'application/json' },
        body: `{"key":"k","value":${json}}`,
      });
      expect(response.status).toBe(400);
      expect(((await response.json()) as Reply).detail).toContain('__proto__');
    }
    const { bytes } = await tag(publicUrl, { key: 'k', callback: 'cb' });
    expect(run(bytes).calls).toMatchObject([{ code: -1 }]);
  });

  test('numbers that a double cannot hold, and nesting that would break a parser, are refused', async () => {
    const { internalUrl } = await service();
    for (const json of ['1e999', '[-1e999]', `${'['.repeat(1002)}${']'.repeat(1002)}`]) {
      const response = await fetch(`${internalUrl}/status/set`, {
        method: 'POST',
        headers: { 'Content-Type': 'application/json' },
        body: `{"key":"k","value":${json}}`,
      });
      expect(response.status).toBe(400);
    }
  });
});

describe('names', () => {
  test('Rosetta Flash: a name of letters and digits that is a Flash file is not what the answer begins with', async () => {
    const { publicUrl } = await kept(1);
    const flash = `CWSMIKI0hCD0Up0IZUnnnnnnnnnnnnnnnnnnnUU5nnnnnn3Snn7iiudIbEAt333swW0ssG03sDDtDDDt0333333Gt333swwv3wwwFPOHtoHHvwHHFhH3D0Up0IZ`;
    const { response, bytes } = await tag(publicUrl, { key: 'k', callback: flash });
    expect(bytes.subarray(0, 4).toString()).toBe('/**/');
    expect(response.headers.get('x-content-type-options')).toBe('nosniff');
    expect(response.headers.get('content-disposition')).toBe('attachment; filename=f.txt');
    run(bytes); // a call of a function that is not there
    expect(run(bytes, { [flash]: (answer: Reply) => expect(answer.data).toBe(1) }).calls).toEqual([]);
  });

  test.each([
    'cb;stolen=1',
    'cb(1);//',
    'cb\u2028stolen=1',
    'cb\nstolen=1',
    '<script>',
    '+ADw-script+AD4-',
    "'+stolen+'",
    'cb[0]',
    'cb`1`',
    'cb/**/',
    'cb\0',
    '\u0063b\\u0028',
    'caf\u00e9',
    'alert.if',
    'a.class.b',
    'null',
    'this.cb',
    'enum',
    'let',
    'await',
    'a..b',
    '.a',
    'a.',
    'cb%28',
    'pay.submit',
    'location',
  ])('%j is refused in plain text, with nothing of it', async name => {
    const { publicUrl } = await kept(1);
    for (const mode of ['callback', 'var']) {
      const { response, bytes } = await tag(publicUrl, { key: 'k', [mode]: name });
      expect(response.status).toBe(400);
      expect(response.headers.get('content-type')).toBe('text/plain; charset=utf-8');
      expect(response.headers.get('x-content-type-options')).toBe('nosniff');
      expect(bytes.toString('latin1')).toBe(`${mode}: ${NAME_ALLOWED}\n`);
    }
  });

  test('a late answer finds its function gone, in whole or in part: nothing happens, nothing is thrown', async () => {
    const { publicUrl } = await kept(1, { callbacks: ['*'] });
    for (const globals of [
      {},
      { a: undefined },
      { a: null },
      { a: {} },
      { a: { b: null } },
      { a: { b: { c: 1 } } },
      { a: 'text' },
    ])
      for (const callback of ['a', 'a.b', 'a.b.c', 'a.b.c.d']) {
        const { bytes } = await tag(publicUrl, { key: 'k', callback });
        expect(() => run(bytes, globals)).not.toThrow();
      }
    for (const name of ['a.b', 'a.b.c']) {
      const { bytes } = await tag(publicUrl, { key: 'k', var: name });
      for (const globals of [{}, { a: null }, { a: undefined }])
        expect(() => run(bytes, globals)).not.toThrow();
    }
  });

  test('dotted names are called on what they belong to', async () => {
    const { publicUrl } = await kept(7, { callbacks: ['app.*'] });
    const { bytes } = await tag(publicUrl, { key: 'k', callback: 'app.on' });
    const app = {
      heard: undefined,
      on(answer: Reply) {
        this.heard = answer.data as never;
      },
    };
    run(bytes, { app });
    expect(app.heard).toBe(7);
    const assigned = await tag(publicUrl, { key: 'k', var: 'app.heard' });
    run(assigned.bytes, { app });
    expect(app.heard).toMatchObject({ data: 7 });
  });

  test('a name of the prototype changes no prototype', async () => {
    const { publicUrl } = await kept({ polluted: true }, { callbacks: ['*'] });
    for (const [mode, name] of [
      ['callback', '__proto__'],
      ['callback', 'a.__proto__'],
      ['var', '__proto__'],
      ['var', 'a.__proto__.b'],
      ['var', 'a.constructor.prototype.polluted'],
      ['var', 'a'],
    ] as const) {
      const { response, bytes } = await tag(publicUrl, { key: 'k', [mode]: name });
      expect(response.status, name).toBe(name === 'a' ? 200 : 400);
      if (response.status !== 200) continue;
      const page = run(bytes, { a: {} });
      expect(page.eval('({}).polluted')).toBe(undefined);
    }
  });
});

describe('what the browser says of itself', () => {
  const script = { key: 'k', callback: 'cb' };
  test.each([
    'document',
    'iframe',
    'embed',
    'object',
    'image',
    'style',
    'worker',
    'serviceworker',
    'audioworklet',
    'empty',
    'x',
  ])('an answer to be run is not for the destination %s', async destination => {
    const { publicUrl } = await kept('secret');
    const { response, bytes } = await tag(publicUrl, script, { 'Sec-Fetch-Dest': destination });
    expect(run(bytes).calls).toEqual([{ code: -5, message: 'forbidden' }]);
    expect(response.headers.get('content-disposition')).toBe('attachment; filename=f.txt');
    expect(response.headers.get('x-content-type-options')).toBe('nosniff');
    const { bytes: json } = await tag(publicUrl, { key: 'k' }, { 'Sec-Fetch-Dest': destination });
    expect(JSON.parse(json.toString())).toMatchObject({ code: 0 });
  });

  test('but for a script tag, and for browsers that do not say', async () => {
    const { publicUrl } = await kept(1);
    const ways: Record<string, string>[] = [{ 'Sec-Fetch-Dest': 'script' }, {}];
    for (const headers of ways)
      expect(run((await tag(publicUrl, script, headers)).bytes).calls).toMatchObject([{ code: 0 }]);
  });

  test.each<[string, Record<string, string>, number]>([
    ['a listed page', { Referer: 'https://one.example/login?a=b' }, 0],
    ['a listed page that tells its origin alone', { Referer: 'https://one.example/' }, 0],
    ['a page that does not tell', {}, 0],
    ['another page', { Referer: 'https://evil.example/https://one.example/' }, -5],
    ['a page whose name begins alike', { Referer: 'https://one.example.evil.example/' }, -5],
    ['a page that puts the name before an @', { Referer: 'https://one.example@evil.example/' }, -5],
    ['another scheme', { Referer: 'http://one.example/' }, -5],
    ['another port', { Referer: 'https://one.example:8443/' }, -5],
    ['nonsense', { Referer: 'one.example' }, -5],
    ['a sandboxed frame', { Origin: 'null' }, -5],
    [
      'an Origin, which counts before the Referer',
      { Origin: 'https://evil.example', Referer: 'https://one.example/' },
      -5,
    ],
  ])('with TAGWAIT_ORIGINS: %s', async (_, headers, code) => {
    const { publicUrl, internalUrl } = await service({ origins: ['https://one.example'] });
    await set(internalUrl, { key: 'k', value: 1 });
    const { bytes } = await tag(publicUrl, script, headers);
    expect(run(bytes).calls).toMatchObject([{ code }]);
  });
});
