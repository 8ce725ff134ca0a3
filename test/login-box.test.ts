/** The login box: what visitors see and hear of a login, in Chromium; the matrix has the other engines. */
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { runInNewContext } from 'node:vm';
import { gzipSync } from 'node:zlib';
import { parse } from 'acorn';
import type { Browser, BrowserContextOptions, Page } from 'playwright-core';
import { encode } from 'uqr';
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest';
import { axeFaults as faults } from './axe.js';
import { readModules, readSvg } from './camera.js';
import { launch } from './chromium.js';
import { listen, service, set, until } from './harness.js';

vi.setConfig({ testTimeout: 60_000 });
const LIMIT = 9216;
const source = (name: string) => readFileSync(`client/login/${name}.js`, 'utf8');
/** What a part of the script declares. */
const from = <T>(name: string, declared: string): T =>
  new Function(`${source(name)}\nreturn ${declared}`)() as T;

describe.each([
  ['login', 'texts', LIMIT],
  ['phone', 'phone-texts', 6912],
] as const)('the script %s', (name, part, limit) => {
  const built = readFileSync(`dist/client/${name}.js`, 'utf8');

  test(`is ASCII in ES3, and at most ${limit} bytes with gzip`, () => {
    parse(built, { ecmaVersion: 3, allowReserved: 'never' });
    expect(/[^ -~\n]/.exec(built)?.[0]).toBeUndefined();
    expect(gzipSync(built, { level: 9 }).length).toBeLessThanOrEqual(limit);
  });

  test('reads nothing that is assigned further down when it is loaded', () => {
    const parts = new RegExp(`${name}: \\{\\s*parts: '(.+)'`).exec(source('build'))?.[1] as string;
    // a `let` that is read too early throws, where a `var` is undefined
    const joined = parts.split(' ').map(part => source(part).replace(/^var /gm, 'let '));
    const document = { getElementsByTagName: () => [] };
    runInNewContext(`(function (window, document) {\n${joined.join('\n')}\n})({}, document)`, { document });
  });

  test('never parses a text as markup', () => {
    expect(built).not.toMatch(/innerHTML|outerHTML|insertAdjacentHTML|document\.write/);
  });

  test('has every text in twelve languages', () => {
    const { names, texts } = from<{ names: string[]; texts: Record<string, string> }>(
      part,
      '{ names: TEXT_NAMES, texts: TEXTS }',
    );
    expect(Object.keys(texts)).toHaveLength(12);
    for (const [language, text] of Object.entries(texts)) {
      expect(text.split('|'), language).toHaveLength(names.length);
      expect(text.split('|').every(Boolean), language).toBe(true);
    }
  });
});

/** The service cannot be reached until the box says so. The clock of the page is the test's. */
async function loseNetwork(page: Page, stand: Awaited<ReturnType<typeof site>>): Promise<void> {
  await page.route('**/status/get*', route => route.abort());
  await stand.say({ state: 'nothing' });
  await until(async () => {
    await page.clock.fastForward(3000);
    return (await said(page)) === 'No connection…';
  });
  await page.unroute('**/status/get*');
}

describe('the QR code', () => {
  const qr = from<(text: string) => number[][] | undefined>('qr', 'qr');
  const letters = 'https://login.example.com/scan?key=Zz09_~&';
  const text = (length: number) => letters.repeat(Math.ceil(length / letters.length)).slice(0, length);
  // the first and the last length of a version, and what begins its other ways to count
  const lengths = [1, 14, 15, 26, 42, 62, 84, 106, 107, 122, 152, 180, 181, 213, 214, 331, 450, 560, 666];

  test.each(lengths)('of %i bytes is what another encoder makes with the same mask', length => {
    const rows = JSON.stringify(qr(text(length)));
    const others = Array.from({ length: 8 }, (_, maskPattern) =>
      JSON.stringify(
        encode(text(length), { ecc: 'M', border: 0, maskPattern, boostEcc: false }).data.map(row =>
          row.map(Number),
        ),
      ),
    );
    expect(others).toContain(rows);
  });

  test('is read by a camera, also where the text is not ASCII', () => {
    for (const link of [text(60), 'https://例え.example/スキャン?key=ü'])
      expect(readModules(qr(link) as number[][])).toBe(link);
  });

  test('holds at most 666 bytes', () => expect(qr(text(667))).toBeUndefined());
});

/** A site with a login page, and what its visitors' browsers sent to it. */
async function site(
  attributes = '',
  { headers = {}, ttl = 120, before = '', body = '', given = false } = {},
) {
  const { publicUrl, internalUrl } = await service({ secret: ['0123456789abcdef0123456789abcdef'] });
  const asked: {
    path: string;
    at: number;
    fields: Record<string, string>;
    headers: Record<string, unknown>;
  }[] = [];
  const state = { keys: [] as string[], sick: 0, refusal: '<p>no</p>', loads: 0 };
  const ticket = async () => {
    const answer = await fetch(`${internalUrl}/status/new`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ ttl }),
    });
    const made = (await answer.json()) as { key: string; proof: string; expires: number };
    state.keys.push(made.key);
    return { ...made, link: `https://app.example.com/scan?key=${made.key}` };
  };
  const tag = `<script nonce="abc" src="${publicUrl}/login.js" data-new="/login/new" data-redeem="/login/redeem" data-into="#login" ${attributes}></script>`;
  const html = `<!doctype html><html lang="en"><head><title>Sign in</title><meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark"><script nonce="abc">var heard = [], ended; function done(answer) { ended = answer; } function states(state, info) { heard.push(state + info.trouble); } ${before}</script></head>
<body><main><h1>Sign in</h1><div id="login"></div>${body || tag}</main></body></html>`;
  const server = createServer(async (request, response) => {
    const path = request.url as string;
    if (request.method === 'GET') {
      if (path === '/') state.loads++;
      const attributes = given
        ? Object.entries(await ticket()).map(([name, of]) => `data-${name}="${of}"`)
        : [];
      return response
        .writeHead(200, { 'Content-Type': 'text/html; charset=utf-8', ...headers })
        .end(html.replace('data-new=', `${attributes.join(' ')} data-new=`));
    }
    let text = '';
    for await (const chunk of request) text += chunk;
    const fields = Object.fromEntries(new URLSearchParams(text));
    asked.push({ path, at: performance.now(), fields, headers: request.headers });
    if (state.sick) return response.writeHead(state.sick).end(state.refusal);
    if (path === '/login/redeem') return response.end('{"user":"Ada"}');
    response.end(JSON.stringify(await ticket()));
  });
  const url = await listen(server);
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const say = (value: object, final?: true) =>
    set(internalUrl, { key: state.keys.at(-1) as string, value, ...(final && { final }) });
  const redeemed = () => asked.filter(({ path }) => path === '/login/redeem');
  return Object.assign(state, { url, publicUrl, asked, say, redeemed });
}

let browser: Browser;
beforeAll(async () => {
  browser = await launch();
});
afterAll(() => browser.close());

const NONE: string[] = [];
async function open(
  url: string,
  options: BrowserContextOptions & {
    clock?: boolean;
    expected?: RegExp;
    heard?: (text: string) => void;
  } = {},
) {
  const { clock, expected = /^Failed to load resource/, heard = () => {}, ...more } = options;
  const context = await browser.newContext({
    viewport: { width: 390, height: 844 },
    reducedMotion: 'reduce',
    ...more,
  });
  onTestFinished(() => context.close());
  const page = await context.newPage();
  if (clock) await page.clock.install();
  const complaints: string[] = [];
  page.on('pageerror', error => complaints.push(String(error)));
  page.on('console', line => {
    if (!/error|warning/.test(line.type())) return;
    complaints.push(line.text());
    if (!/favicon|Failed to load/.test(line.text())) heard(line.text());
  });
  onTestFinished(() => expect.soft(complaints.filter(text => !expected.test(text))).toEqual(NONE));
  await page.goto(url);
  return page;
}
const shows = (page: Page, state: string) =>
  page.waitForSelector(`.tagwait-${state.replace(' ', '.tagwait-')}`, { timeout: 15_000 });
const said = (page: Page) => page.textContent('.tagwait-say');
const TICK = 'm4.5 12.8';
const CROSS = 'm6 6 12 12';
/** The icon over the code is drawn, and not empty. */
async function hasIcon(page: Page, drawn = 'M') {
  expect(await page.getAttribute('.tagwait-over .tagwait-icon path', 'd')).toMatch(new RegExp(`^${drawn}`));
  expect((await page.locator('.tagwait-over .tagwait-icon').boundingBox())?.width).toBeGreaterThan(50);
}

describe('a login', () => {
  const policy =
    "default-src 'none'; script-src 'nonce-abc' 'strict-dynamic'; style-src 'none'; img-src data:; connect-src 'self'; " +
    "base-uri 'none'; require-trusted-types-for 'script'; trusted-types tagwait";

  test('from the code to the session, under a strict policy, without a fault that axe finds', async () => {
    const { url, say, keys, redeemed } = await site('data-ondone="done" data-onstate="states"', {
      headers: { 'Content-Security-Policy': policy },
    });
    const page = await open(url, { viewport: { width: 320, height: 600 } });
    await shows(page, 'waiting');
    expect(await readSvg(page, '.tagwait-modules')).toBe(`https://app.example.com/scan?key=${keys[0]}`);
    expect(await page.getByRole('link', { name: 'Scan with your phone' }).getAttribute('href')).toContain(
      keys[0],
    );
    await until(async () => /^[12]:\d\d$/.test((await page.textContent('.tagwait-left')) ?? ''));
    expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(320);
    expect(await faults(page)).toEqual(NONE);
    await say({ state: 'scanned' });
    await shows(page, 'scanned');
    await hasIcon(page);
    expect(await page.getByRole('status').textContent()).toBe('Confirm on your phone');
    expect(await page.getByRole('link').count(), 'the code is no link now').toBe(0);
    expect(await faults(page)).toEqual(NONE);
    await page.route('**/login/redeem', async route => {
      await shows(page, 'approved');
      await hasIcon(page, TICK);
      await route.continue();
    });
    await say({ state: 'approved', code: 'once' }, true);
    await shows(page, 'done');
    await hasIcon(page, TICK);
    expect(await faults(page)).toEqual(NONE);
    expect(redeemed()).toHaveLength(1);
    expect(redeemed()[0]).toMatchObject({
      fields: { key: keys[0], code: 'once' },
      headers: { 'x-requested-with': 'XMLHttpRequest', origin: url },
    });
    expect(await page.evaluate('ended')).toEqual({ user: 'Ada' });
    expect(await page.evaluate('heard')).toEqual(['loading', 'waiting', 'scanned', 'approved', 'done']);
  });

  test('refused on the phone: said so, and a new code by keyboard', async () => {
    const { url, say, keys } = await site('', { headers: { 'Content-Security-Policy': "style-src 'self'" } });
    const page = await open(url, { colorScheme: 'dark' });
    await shows(page, 'waiting');
    await say({ state: 'denied' }, true);
    await shows(page, 'denied');
    await hasIcon(page, CROSS);
    expect(await said(page)).toBe('Declined on your phone');
    expect(await faults(page)).toEqual(NONE);
    await page.keyboard.press('Tab');
    expect(await page.evaluate(() => document.activeElement?.textContent)).toBe('New code');
    await page.keyboard.press('Enter');
    await shows(page, 'waiting');
    expect(keys).toHaveLength(2);
    expect(await page.evaluate(() => document.activeElement?.getAttribute('role')), 'the focus stays').toBe(
      'status',
    );
  });

  test('a code that ends is followed by another, five times, and then by a button', async () => {
    const { url, keys } = await site();
    const page = await open(url, { clock: true });
    for (let code = 1; code <= 6; code++) {
      await until(() => keys.length === code);
      await shows(page, 'waiting');
      await page.clock.fastForward(123_000);
    }
    await shows(page, 'expired');
    await hasIcon(page);
    await page.clock.fastForward(123_000);
    expect(keys).toHaveLength(6);
    expect(await said(page)).toBe('Code expired');
    await page.getByRole('button', { name: 'New code' }).click();
    await shows(page, 'waiting');
    expect(keys).toHaveLength(7);
  });

  test('a phone that does not answer: expired, and no new code by itself', async () => {
    const { url, keys, say } = await site();
    const page = await open(url, { clock: true });
    await shows(page, 'waiting');
    await say({ state: 'scanned' });
    await shows(page, 'scanned');
    await page.clock.fastForward(123_000);
    await shows(page, 'expired');
    expect(keys).toHaveLength(1);
  });

  test('trouble in words: busy, offline, and a new code when the service is back', async () => {
    const stand = await site();
    stand.sick = 503;
    const page = await open(stand.url, { clock: true, expected: /^Failed to load|ERR_FAILED/ });
    await shows(page, 'loading busy');
    expect(await said(page)).toBe('One moment…');
    stand.sick = 0;
    await page.clock.fastForward(3000);
    await shows(page, 'waiting well');
    await loseNetwork(page, stand);
    await until(async () => {
      await page.clock.fastForward(3000);
      return stand.keys.length === 2;
    });
    await shows(page, 'waiting well');
  });

  test('a site is asked no more than once a second, whatever it says as retry', async () => {
    const noting =
      'var asks = [], send = XMLHttpRequest.prototype.send; Math.random = () => 0.5;' +
      'XMLHttpRequest.prototype.send = function (body) { asks.push(Date.now()); send.call(this, body); };';
    const stand = await site('', { before: noting });
    const retries = [0, 1, -5, '"soon"', '"1"', true, null, '1e999', '{}', '[1]'];
    const say = (number: number) =>
      Object.assign(stand, { sick: 503, refusal: `{"retry":${retries[number]}}` });
    say(0);
    const page = await open(stand.url, { clock: true });
    await until(() => stand.asked.length === 1);
    for (let number = 0; number < retries.length; number++) {
      say(number + 1);
      await until(async () => {
        await page.clock.runFor(100);
        return stand.asked.length === number + 2;
      });
    }
    const asks: number[] = await page.evaluate('asks');
    for (const [number, retry] of retries.entries())
      expect((asks[number + 1] ?? 0) - (asks[number] ?? 0), `retry ${retry}`).toBeGreaterThan(990);
  });

  test.each([
    [20_000, 20],
    [60_000, 60],
    [3e9, 60],
    [1e300, 60],
  ])('a site that says retry %d is asked again after %d seconds', async (retry, seconds) => {
    const stand = await site();
    Object.assign(stand, { sick: 429, refusal: `{"retry":${retry}}` });
    const page = await open(stand.url, { clock: true });
    await shows(page, 'loading busy');
    await page.clock.runFor((seconds - 1) * 1000);
    await page.evaluate(() => fetch('/other', { method: 'POST' })); // what was asked before this one has come
    expect(stand.asked.map(({ path }) => path)).toEqual(['/login/new', '/other']);
    await page.clock.runFor(1100);
    await until(() => stand.asked.length === 3);
  });

  test('the redeem goes on for a minute, however soon the site says it should', async () => {
    const stand = await site();
    const page = await open(stand.url, { clock: true });
    await shows(page, 'waiting');
    const begun = await page.evaluate(() => Date.now());
    Object.assign(stand, { sick: 503, refusal: '{"retry":1}' });
    await stand.say({ state: 'approved', code: 'once' }, true);
    await until(async () => {
      await page.clock.runFor(500);
      return stand.redeemed().length >= 30 || (await page.locator('.tagwait-failed').count()) > 0;
    });
    expect((await page.evaluate(() => Date.now())) - begun).toBeGreaterThan(28_000);
    stand.sick = 0;
    await page.clock.runFor(1500);
    await shows(page, 'done');
  });

  test('the redeem is repeated when it had no good answer, and not when it was refused', async () => {
    const stand = await site('data-then="/welcome"');
    const page = await open(stand.url, { clock: true });
    await shows(page, 'waiting');
    stand.sick = 503;
    await stand.say({ state: 'approved', code: 'once' }, true);
    await until(() => stand.redeemed().length === 1);
    stand.sick = 0;
    await page.clock.fastForward(2000);
    await page.waitForURL('**/welcome');
    expect(stand.redeemed().map(({ fields }) => fields.code)).toEqual(['once', 'once']);

    // the code lives a minute
    const away = await site('data-then="/welcome"');
    const waiting = await open(away.url, { clock: true });
    await shows(waiting, 'waiting');
    away.sick = 503;
    await away.say({ state: 'approved', code: 'once' }, true);
    await until(async () => {
      await waiting.clock.runFor(1000);
      return away.redeemed().length === 9;
    });
    away.sick = 0;
    await waiting.clock.fastForward(10_000);
    await waiting.waitForURL('**/welcome');

    const refusing = await site();
    const other = await open(refusing.url);
    await shows(other, 'waiting');
    refusing.sick = 403;
    await refusing.say({ state: 'approved', code: 'once' }, true);
    await shows(other, 'failed');
    await hasIcon(other, CROSS);
    expect(refusing.redeemed()).toHaveLength(1);
    expect(await faults(other)).toEqual(NONE);
  });
});

describe('a page', () => {
  test('chooses language, direction and texts, and sends its token against forged requests', async () => {
    const { url, asked } = await site(
      'data-lang="ar-EG" data-text-waiting="my &lt;b&gt; words" data-csrf-cookie="csrf.token" data-csrf-header="X-CSRFToken" data-csrf-field="_csrf"',
      { before: "document.cookie = 'csrf.token=a%2Fb';" },
    );
    const page = await open(url);
    await shows(page, 'waiting');
    expect(await said(page)).toBe('my <b> words');
    expect(await page.getAttribute('.tagwait-login', 'dir')).toBe('rtl');
    expect(await page.getAttribute('.tagwait-login', 'lang')).toBe('ar');
    expect(asked[0]).toMatchObject({ fields: { _csrf: 'a/b' }, headers: { 'x-csrftoken': 'a/b' } });
    expect(await faults(page)).toEqual(NONE);
  });

  test('sends a token that cannot be decoded as it is', async () => {
    const { url, asked } = await site('data-csrf-cookie="token"', {
      before: "document.cookie = 'token=ab%zz';",
    });
    await shows(await open(url), 'waiting');
    expect(asked[0]?.headers['x-csrf-token']).toBe('ab%zz');
  });

  test('in a sandbox that forbids cookies shows how it fares', async () => {
    const { url, publicUrl } = await site('', { body: '<p id="mine"></p>' });
    const page = await open(url, { expected: /CORS policy|ERR_FAILED/ });
    await page.evaluate(src => {
      const frame = document.createElement('iframe');
      frame.setAttribute('sandbox', 'allow-scripts');
      frame.srcdoc = `<div id="login"></div><script src="${src}" data-new="/login/new" data-redeem="/login/redeem" data-into="#login"></script>`;
      document.body.append(frame);
    }, `${publicUrl}/login.js`);
    await page.frameLocator('iframe').locator('.tagwait-loading.tagwait-offline').waitFor();
  });

  test.each([
    [3660, /^1:00:\d\d$/],
    [86_400, /^23:59:\d\d$/],
  ])('shows the hours of a code of %i seconds', async (ttl, left) => {
    const page = await open((await site('', { ttl })).url);
    await shows(page, 'waiting');
    await until(async () => left.test((await page.textContent('.tagwait-left')) ?? ''));
  });

  test('draws the login itself, from callbacks', async () => {
    const { url, say, publicUrl } = await site('', { body: '<p id="mine"></p>' });
    const page = await open(url);
    await page.addScriptTag({ url: `${publicUrl}/login.js` });
    await page.evaluate(`var mine = tagwaitLogin({ look: 'none', new: '/login/new', redeem: '/login/redeem', url: '${publicUrl}',
      onstate: (state, info) => { heard.push([state, info.link, info.left]); }, ondone: done })`);
    const [, link, left] = await until(() =>
      page.evaluate<[string, string, number]>('heard.find(([state]) => state === "waiting")'),
    );
    expect(left).toBeGreaterThan(110);
    const rows = await page.evaluate<number[][]>(`tagwaitLogin.qr(${JSON.stringify(link)})`);
    expect(readModules(rows)).toBe(link);
    await say({ state: 'approved', code: 'once' }, true);
    await until(() => page.evaluate('ended'));
    expect(await page.locator('.tagwait-login').count()).toBe(0);
    await page.evaluate('mine.again()');
    await until(() => page.evaluate('heard.length === 6'));
    await page.evaluate('mine.stop()');
    await say({ state: 'scanned' });
    expect(await page.evaluate('heard.map(([state]) => state)')).toEqual([
      ...['loading', 'waiting', 'approved', 'done', 'loading', 'waiting'],
    ]);
  });

  describe('in a browser without XMLHttpRequest', () => {
    const before = 'window.XMLHttpRequest = undefined;';
    const expected = /^tagwait: no XMLHttpRequest|^Failed to load|ERR_FAILED/;

    test('is not loaded again by itself when it has no ticket, and says so', async () => {
      const stand = await site('', { before });
      const said: string[] = [];
      const page = await open(stand.url, { expected, heard: text => said.push(text) });
      await shows(page, 'failed');
      expect(said).toEqual(['tagwait: no XMLHttpRequest, data-key']);
      await page.getByRole('button', { name: 'New code' }).click();
      await until(() => stand.loads === 2);
      await shows(page, 'failed');
      expect([stand.loads, stand.asked.length]).toEqual([2, 0]);
    });

    test('is loaded again by the button alone, when its code has ended or may be lost', async () => {
      const stand = await site('data-onstate="states"', { before, given: true });
      const page = await open(stand.url, { expected, clock: true });
      await shows(page, 'waiting');
      await page.clock.fastForward(123_000);
      await shows(page, 'expired');
      await page.clock.runFor(5000);
      expect(await page.evaluate('heard')).toEqual(['waiting', 'expired']);
      await page.getByRole('button', { name: 'New code' }).click();
      await until(() => stand.loads === 2);
      await shows(page, 'waiting well');

      await loseNetwork(page, stand);
      await until(async () => {
        await page.clock.fastForward(3000);
        return (await said(page)) === 'Code expired';
      });
      await page.clock.runFor(5000);
      expect([stand.loads, stand.asked.length]).toEqual([2, 0]);
    });
  });

  test.each(['its tag', 'an object'])(
    'whose scripts add to the prototype of all objects shows and sends nothing of that: options by %s',
    async by => {
      const before = `for (const name of ['url', 'signal', 'since', 'onclick', 'style', 'retry', 'csrf'])
        Object.defineProperty(Object.prototype, name, { value: 'http://127.0.0.1:9/#added', writable: true, enumerable: true });`;
      const options = "{ new: '/login/new', redeem: '/login/redeem', into: '#login' }";
      const stand = await site('', { before });
      const body = `<script nonce="abc" src="${stand.publicUrl}/login.js"></script><script>tagwaitLogin(${options})</script>`;
      const other = by === 'its tag' ? stand : await site('', { before, body });
      const page = await open(other.url);
      const sent: string[] = [];
      page.on('request', request => sent.push(request.url()));
      await shows(page, 'waiting');
      expect(await page.locator('#login').innerHTML()).not.toContain('added');
      expect(other.asked.map(({ fields }) => fields)).toEqual([{}]);
      expect(other.asked[0]?.headers).not.toHaveProperty('x-csrf-token');
      await until(() => sent.some(url => url.includes('/status/get')));
      expect(sent.filter(url => url.startsWith('http://127.0.0.1:9'))).toEqual(NONE);
    },
  );

  test('that is replaced without a load: the box goes with its tag, and redeems nothing', async () => {
    const { url, say, redeemed } = await site('data-then="/inside" data-onstate="states"');
    const page = await open(url);
    await shows(page, 'waiting');
    await page.evaluate('document.body.innerHTML = "<p>the next page</p>"');
    await until(async () => !(await say({ state: 'scanned' })).body.watched);
    await say({ state: 'approved', code: 'once' }, true);
    expect(await page.evaluate('heard')).toEqual(['loading', 'waiting']);
    expect(redeemed()).toEqual([]);
    expect(page.url()).toBe(`${url}/`);
  });

  test('that is stopped, or whose tag leaves, takes its code with it: a view that is made twice has one box', async () => {
    const { url, publicUrl } = await site();
    const page = await open(url);
    await shows(page, 'waiting');
    await page.evaluate('document.querySelector("#login ~ script").remove()');
    await until(async () => (await page.locator('.tagwait-login').count()) === 0);
    await page.evaluate(`var view = () => tagwaitLogin({ into: document.getElementById('login'), new: '/login/new',
      redeem: '/login/redeem', url: '${publicUrl}' }); var first = view(); first.stop(); var second = view();`);
    await shows(page, 'waiting');
    expect(await page.locator('.tagwait-login').count()).toBe(1);
    // a framework may have taken the element out before it stops the box
    await page.evaluate('document.getElementById("login").innerHTML = ""; second.stop(); second.stop()');
  });

  test('that is stopped before its element is there is never drawn, and asks for no code', async () => {
    const { url, publicUrl, keys } = await site('', { body: '<p id="mine"></p>' });
    const page = await open(url);
    await page.addScriptTag({ url: `${publicUrl}/login.js` });
    await page.evaluate(`var view = () => tagwaitLogin({ into: '#later', new: '/login/new',
      redeem: '/login/redeem', url: '${publicUrl}' }); view().stop(); view();
      document.getElementById('mine').id = 'later';`);
    await shows(page, 'waiting');
    expect([await page.locator('.tagwait-login').count(), keys.length]).toEqual([1, 1]);
  });

  test.each([
    ['loading', ['loading', 'waiting', 'loading']],
    ['waiting', ['loading', 'waiting']],
    ['expired', ['loading', 'waiting', 'expired']],
  ])('may stop the box when it hears of %s', async (state, states) => {
    const { url, publicUrl, keys } = await site('', { body: '<p id="mine"></p>', ttl: 3 });
    const page = await open(url);
    await page.addScriptTag({ url: `${publicUrl}/login.js` });
    await page.evaluate(`var login = tagwaitLogin({ look: 'none', new: '/login/new', redeem: '/login/redeem', url: '${publicUrl}',
      onstate: now => {
        heard.push(now);
        if (now !== '${state}' || !login) return;
        login.stop();
        setTimeout(() => { ended = 1; }, 2500);
      } });`);
    if (state === 'loading') {
      await until(() => page.evaluate('heard.length === 2'));
      await page.evaluate('login.again()');
    }
    await until(() => page.evaluate('ended'));
    expect(await page.evaluate('heard')).toEqual(states);
    expect(keys).toHaveLength(1);
    expect(await page.locator('script[src*="/status/get"]').count()).toBe(0);
  });

  test.each([
    ['flex', 'body { display: flex; justify-content: center }'],
    ['a column', 'body { display: flex; flex-direction: column; align-items: center }'],
    ['a grid', 'body { display: grid; place-items: center }'],
    ['a float', 'main { float: left }'],
  ])('has a code of one size in %s, whatever the text beside it', async (_, css) => {
    const page = await open((await site('data-lang="zh"')).url);
    await page.addStyleTag({ content: css });
    await shows(page, 'waiting');
    expect((await page.locator('.tagwait-code').boundingBox())?.width).toBeGreaterThan(200);
  });

  test('that has shown the box shows the phone in its own look', async () => {
    const { url, publicUrl } = await site();
    const page = await open(url);
    await shows(page, 'waiting');
    await page.evaluate(`document.getElementById('login').insertAdjacentHTML('afterend', '<p id="ask"></p>');
      for (const [name, value] of Object.entries({ src: '${publicUrl}/login/phone.js', 'data-scan': '/login/new', 'data-into': '#ask' }))
        (window.tag = window.tag || document.createElement('script')).setAttribute(name, value);
      document.body.appendChild(tag);`);
    await page.locator('.tagwait-acts').waitFor();
    expect(await page.locator('.tagwait-acts').evaluate(acts => getComputedStyle(acts).display)).toBe('flex');
    expect(await page.locator('.tagwait-card').evaluate(card => getComputedStyle(card).position)).toBe(
      'relative',
    );
  });

  test('is given a table where there is no SVG', async () => {
    const { url, keys } = await site('', { before: 'delete SVGSVGElement.prototype.createSVGRect;' });
    const page = await open(url);
    await shows(page, 'waiting');
    const rows = await page.$$eval('.tagwait-modules tr', lines =>
      lines.map(line => [...line.children].map(cell => (cell.getAttribute('bgcolor') === '#000' ? 1 : 0))),
    );
    expect(readModules(rows)).toBe(`https://app.example.com/scan?key=${keys[0]}`);
  });
});
