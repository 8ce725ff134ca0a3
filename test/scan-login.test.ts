/**
 * docs/scan-login.md: each of its backends is run, before a real tagwait and behind a line that fails. And the app of the
 * README, as it stands there.
 */
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo, BlockList } from 'node:net';
import express, { type RequestHandler } from 'express';
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest';
import { folderOf, line, type Posted, post, SECRET, TOKEN } from './backends.js';
import { blocksOf } from './blocks.js';
import { launch } from './chromium.js';
import { listen, poll, service, until } from './harness.js';
import type { Owner } from './owner.js';
import { program } from './program.js';
import { freePort } from './redis.js';

vi.setConfig({ testTimeout: 60_000 });

/** Cookies of the same site that a backend may not be able to parse: they come before its own. */
const FOREIGN = 'prefs={"theme":"dark"}; list[0]=a,b; =nameless; bare; ';
/** Lines of a backend besides its imports. */
const LINES = 25;

const RUNTIMES: Record<
  string,
  { file: string; run: (file: string, port: number) => string[]; version: string }
> = {
  js: { file: 'app.mjs', run: file => [process.execPath, file], version: '--version' },
  python: { file: 'app.py', run: file => ['python3', file], version: '--version' },
  php: {
    file: 'app.php',
    run: (file, port) => ['php', '-S', `127.0.0.1:${port}`, file],
    version: '--version',
  },
  java: { file: 'Main.java', run: file => ['java', file], version: '--version' },
  go: { file: 'main.go', run: file => ['go', 'run', file], version: 'version' },
};
const blocks = blocksOf('docs/scan-login.md');

async function backend(
  language: string,
  { site, own = onTestFinished }: { site?: string; own?: Owner } = {},
) {
  const { publicUrl, internalUrl } = await service({ secret: [SECRET], setTokens: [TOKEN] }, own);
  const wire = await line(internalUrl, own);
  const { file, run } = RUNTIMES[language] as (typeof RUNTIMES)[string];
  const text = blocks.find(block => block.language === language)?.text ?? '';
  const folder = folderOf({ [file]: text }, own);
  const port = await freePort();
  const [command, ...args] = run(`${folder}/${file}`, port) as [string, ...string[]];
  const url = `http://127.0.0.1:${port}`;
  const env = { TAGWAIT: wire.url, TOKEN, PORT: String(port), SITE: site ?? url };
  const app = program(command, args, {
    env: { ...env, PHP_CLI_SERVER_WORKERS: '4', TMPDIR: folder },
    cwd: folder,
    own,
  });
  const answers = () =>
    fetch(url)
      .then(() => true)
      .catch(() => app.output().includes('rror') && fail(app.output()));
  await until(answers, { within: 120_000, every: 100 });
  return { publicUrl, wire, url };
}
function fail(text: string): never {
  throw new Error(text);
}

/** A login that a page has begun: its calls, and what the page hears. */
async function begun({ url, publicUrl }: { url: string; publicUrl: string }) {
  const { status, body, given } = await post(`${url}/login/new`, {});
  expect(status).toBe(200);
  const { key = '', proof = '' } = body as Record<string, string>;
  const step = (call: string, cookie = 'phone=ada', more = {}): Promise<Posted> =>
    post(`${url}/login/${call}`, { key, ...more }, FOREIGN + cookie);
  const status_ = async (...args: Parameters<typeof step>) => (await step(...args)).status;
  const page = () => poll(publicUrl, { key, proof, hold: '0' });
  const heard = async () => {
    const { earlier = [], data } = await page();
    return [...earlier, data];
  };
  const code = async () => ((await heard()).at(-1) as { code: string }).code;
  const redeem = async (cookie = given) => status_('redeem', cookie, { code: await code() });
  return { key, body, given, step, status: status_, page, heard, code, redeem };
}

/** Lets the clock of tagwait, which runs in this process, go on. */
function later(seconds: number) {
  vi.useFakeTimers({ toFake: ['Date'] });
  vi.setSystemTime(Date.now() + seconds * 1000);
  onTestFinished(() => void vi.useRealTimers());
}

describe.each(Object.keys(RUNTIMES))('the backend in %s', language => {
  const { file, run, version } = RUNTIMES[language] as (typeof RUNTIMES)[string];
  const [command] = run(file, 0) as [string];
  const here = spawnSync(command, [version]).status === 0;
  if (!here) console.log(`left out: the backend in ${language}, because ${command} is not on this machine`);

  test('is short', () => {
    const text = blocks.find(block => block.language === language)?.text ?? '';
    const imports = /^(import|package|from|#include|<\?php|\t"|\)$|\s*$)/;
    const lines = text.split('\n').filter(line => !imports.test(line));
    expect(lines.length).toBeLessThanOrEqual(LINES);
  });

  describe.runIf(here)('plays', () => {
    let stand: Awaited<ReturnType<typeof backend>>;
    const ends: (() => Promise<void> | void)[] = [];
    beforeAll(async () => {
      stand = await backend(language, { own: end => void ends.unshift(end) });
    }, 180_000);
    afterAll(async () => {
      for (const end of ends) await end();
    });

    test('a login from scan to session, with lost answers', async () => {
      const { url, publicUrl, wire } = stand;
      wire.lose = 1;
      expect((await post(`${url}/login/new`, {})).status, 'the page calls again').toBe(503);
      const { key, body, given, step, status, heard, code, redeem } = await begun(stand);
      expect(body.link).toBe(`${url}/scan?key=${key}`);
      expect(given).toMatch(/^visitor=.{22,}$/);
      expect((await poll(publicUrl, { key })).code, 'the key alone does not watch').toBe(-5);
      expect(await status('approve', ''), 'nobody').toBe(401);
      expect(await status('approve'), 'before it is scanned').toBe(409);
      for (const call of ['scan', 'approve']) {
        wire.lose = 1;
        expect([await status(call), await status(call)], call).toEqual([503, 200]);
      }
      expect((await step('scan')).status, 'too late for another scan').toBe(410);
      expect(await heard()).toEqual([{ state: 'scanned' }, { state: 'approved', code: expect.any(String) }]);
      expect(await redeem('visitor=eve'), 'stolen').toBe(403);
      wire.lose = 1;
      expect(await redeem()).toBe(503);
      const redeemed = await step('redeem', given, { code: await code() });
      expect([redeemed.status, 'user' in redeemed.body]).toEqual([200, false]);
      expect(redeemed.given).toMatch(/session=.{22,}/);
      expect(await redeem(), 'the page asks again').toBe(200);
      expect(await redeem('visitor=eve')).toBe(403);
      expect(wire.lost).toBe(4);
    });

    test('what the phone shows, and wrong codes: the right one is still good', async () => {
      const { given, step, status, redeem } = await begun(stand);
      const { body } = await step('scan');
      expect(body).toMatchObject({ show: { site: 'Example', browser: 'node', place: '127.0.0.1' } });
      await status('approve');
      const wrong = await Promise.all(Array.from({ length: 11 }, () => step('redeem', given, { code: 'x' })));
      expect(wrong.map(({ status }) => status).toSorted()).toEqual([...Array(10).fill(403), 429]);
      expect(wrong.find(({ status }) => status === 429)?.body.retry).toEqual(expect.any(Number));
      expect(await redeem()).toBe(200);
      expect((await post(`${stand.url}/login/scan`, { key: 'unknown' }, 'phone=ada')).status).toBe(404);
      expect((await post(`${stand.url}/login/other`, {}, 'phone=ada')).status).toBe(404);
    });

    test('a refusal', async () => {
      const { given, status, page } = await begun(stand);
      expect([await status('scan'), await status('deny'), await status('deny')]).toEqual([200, 200, 200]);
      expect(await status('approve'), 'yes after no').toBe(409);
      expect(await page()).toMatchObject({ data: { state: 'denied' }, final: true });
      expect(await status('redeem', given, { code: 'x' })).toBe(410);
    });

    test('a double tap', async () => {
      const { status, heard, redeem } = await begun(stand);
      await status('scan');
      expect(await Promise.all([status('approve'), status('approve')])).toEqual([200, 200]);
      expect(await heard()).toHaveLength(2);
      expect(await status('deny'), 'no after yes').toBe(409);
      expect(await redeem()).toBe(200);
    });

    test('a confirmation that is retried after a minute', async () => {
      const { status, code, redeem } = await begun(stand);
      await status('scan');
      await status('approve');
      const first = await code();
      later(61);
      expect(await redeem(), 'too late').toBe(410);
      expect(await status('approve')).toBe(200);
      expect(await code()).toBe(first);
      expect(await redeem()).toBe(200);
      expect(await status('approve'), 'a retry after the redeem').toBe(200);
    });

    test('an expired code', async () => {
      const { given, status, page } = await begun(stand);
      const scanned = await begun(stand);
      await scanned.status('scan');
      later(121);
      expect((await page()).code, 'the page').toBe(-2);
      expect([await status('scan'), await status('approve'), await status('deny')]).toEqual([410, 410, 410]);
      expect(await status('redeem', given, { code: 'x' })).toBe(410);
      expect([await scanned.status('approve'), await scanned.status('deny')]).toEqual([410, 410]);
    });

    test('a second phone', async () => {
      const { status, redeem } = await begun(stand);
      expect(await status('scan')).toBe(200);
      for (const call of ['scan', 'approve', 'deny']) expect(await status(call, 'phone=eve'), call).toBe(409);
      expect(await status('scan'), 'the first one, reloaded').toBe(200);
      expect(await status('approve')).toBe(200);
      expect(await redeem()).toBe(200);
    });
  });
});

describe('what is yours', () => {
  interface Asked {
    ip: string;
    session: Record<string, unknown>;
  }
  type Guard = (
    request: Asked,
    response: { sendStatus(status: number): number },
    next: () => number,
  ) => number;
  interface Yours {
    office: BlockList;
    mayBegin: Guard;
    mayScan: Guard;
    full: Guard;
    shown(request: Asked): Record<string, unknown>;
    isNear(show: Record<string, unknown>, request: Pick<Asked, 'ip'>): boolean;
    limit(session: Record<string, unknown>): void;
  }
  /** The block, loaded again for each test: it counts. */
  async function yours() {
    const text = blocks.find(({ text }) => text.includes('mayBegin'))?.text ?? '';
    const folder = folderOf({ 'yours.mjs': text });
    return (await import(/* @vite-ignore */ `${folder}/yours.mjs`)) as Yours;
  }
  /** @returns the status of the refusal; 200: it goes on */
  const ask = (guard: Guard, request: Asked) => guard(request, { sendStatus: status => status }, () => 200);
  const known = () => ({ ip: '192.0.2.7', session: { device: 'd', name: 'Ada', user: 'ada' } });

  test('what is yours: browsers that may begin a login', async () => {
    const { mayBegin } = await yours();
    expect(ask(mayBegin, known()) ?? 200).toBe(200);
    expect(ask(mayBegin, { ...known(), ip: '198.51.100.7' })).toBe(403);
    expect(ask(mayBegin, { ...known(), session: { name: 'Ada' } })).toBe(403);
    expect(ask(mayBegin, { ...known(), session: { device: 'd' } })).toBe(401);
  });

  test('what is yours: how often', async () => {
    const { mayBegin, mayScan } = await yours();
    const twenty = Array.from({ length: 20 }, (_, index) => index);
    for (const guard of [mayBegin, mayScan]) {
      expect(twenty.map(() => ask(guard, known()) ?? 200)).toEqual(Array(20).fill(200));
      expect(ask(guard, known())).toBe(429);
    }
    expect(ask(mayScan, { ...known(), session: { user: 'eve' } })).toBe(200);
  });

  test('what is yours: what the phone shows', async () => {
    const { mayBegin, shown } = await yours();
    const request = known();
    ask(mayBegin, request);
    const { number } = request.session as { number?: number };
    expect(shown(request)).toMatchObject({ number, name: 'Ada' });
    expect(number).toBeGreaterThanOrEqual(10);
    expect(number).toBeLessThan(100);
  });

  test('what is yours: the networks of page and phone', async () => {
    const { shown, isNear } = await yours();
    const show = shown(known());
    expect(isNear(show, { ip: '192.0.2.200' })).toBe(true);
    expect(isNear(show, { ip: '::ffff:192.0.2.200' })).toBe(true);
    expect(isNear(show, { ip: '192.0.3.7' })).toBe(false);
    expect(isNear(show, { ip: '2001:db8::7' })).toBe(false);
    const six = shown({ ...known(), ip: '2001:db8::7' });
    expect(isNear(six, { ip: '2001:db8:0:0:1:2:3:4' })).toBe(true);
    expect(isNear(six, { ip: '2001:db8:0:1::7' })).toBe(false);
  });

  test("what is yours: the addresses of Express's default listener, which has both families", async () => {
    const { mayBegin, office } = await yours();
    office.addSubnet('127.0.0.0', 8);
    office.addAddress('::1', 'ipv6');
    const app = express();
    app.use((request, _, next) => {
      Object.assign(request, { session: known().session });
      next();
    });
    app.get('/', mayBegin as unknown as RequestHandler, (_, response) => void response.send('goes on'));
    const server = app.listen(0, '::');
    onTestFinished(() => void server.close());
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    for (const host of ['127.0.0.1', '[::1]'])
      expect((await fetch(`http://${host}:${port}/`)).status, host).toBe(200);
    expect(ask(mayBegin, { ...known(), ip: '::ffff:198.51.100.7' })).toBe(403);
    expect(ask(mayBegin, { ...known(), ip: '2001:db8::7' })).toBe(403);
  });

  test('what is yours: the rights and the life of the session', async () => {
    const { limit, full } = await yours();
    const session: Record<string, unknown> & { cookie: { maxAge?: number } } = { cookie: {} };
    expect(ask(full, { ip: '', session })).toBe(200);
    limit(session);
    expect(ask(full, { ip: '', session })).toBe(403);
    expect(session.cookie.maxAge).toBe(3_600_000);
  });
});

/** The site of the login: its two pages, and its backend behind them. */
async function origin(pages: Record<string, string>, backendUrl: () => string): Promise<string> {
  const server = createServer(async (request, response) => {
    const html = pages[(request.url as string).replace(/\?.*/, '')];
    if (request.method === 'GET')
      return response.writeHead(html ? 200 : 404, { 'Content-Type': 'text/html' }).end(html);
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const { cookie = '', 'content-type': type = '', 'user-agent': agent = '' } = request.headers;
    const answer = await fetch(`${backendUrl()}${request.url}`, {
      method: 'POST',
      headers: { cookie, 'content-type': type, 'user-agent': agent },
      body: Buffer.concat(chunks),
    });
    response.setHeader('Set-Cookie', answer.headers.getSetCookie());
    return response.writeHead(answer.status).end(await answer.text());
  });
  const url = await listen(server);
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return url;
}

test('its two pages sign in, in a browser', async () => {
  const pages: Record<string, string> = {};
  let behind = '';
  const site = await origin(pages, () => behind);
  const { publicUrl, url } = await backend('js', { site });
  behind = url;
  const [login, phone] = blocks
    .filter(({ language }) => language === 'html')
    .map(({ text }) => text.replace('https://status.example.com', publicUrl));
  Object.assign(pages, { '/login': login, '/scan': phone, '/': 'welcome' });
  const browser = await launch();
  onTestFinished(() => browser.close());
  const page = await browser.newPage();
  await page.goto(`${site}/login`);
  await page.waitForSelector('.tagwait-waiting');
  const hand = await (await browser.newContext()).newPage();
  await hand.context().addCookies([{ name: 'phone', value: 'ada', url: site }]);
  await hand.goto((await page.getAttribute('.tagwait-code', 'href')) as string);
  await page.waitForSelector('.tagwait-scanned');
  expect(await hand.textContent('h1')).toMatch(/^Sign in to Example on Chrome/);
  await hand.getByRole('button', { name: 'Sign in' }).click();
  await page.waitForURL(`${site}/`);
  await hand.waitForSelector('.tagwait-approved');
  const cookies = await page.context().cookies();
  expect(cookies.map(cookie => cookie.name).sort()).toEqual(['session', 'visitor']);
}, 90_000);

test("the README's app signs in: a page, and a second browser that plays the phone", async () => {
  const { publicUrl, internalUrl } = await service({ secret: [SECRET] });
  const { port } = new URL(publicUrl);
  const own = await freePort();
  const source = blocksOf('README.md').find(({ text }) => text.includes('express-session'))?.text ?? '';
  const here = source
    .replace('http://127.0.0.1:11001', internalUrl)
    .replace(':11000', `:${port}`)
    .replace('listen(3000)', `listen(${own}, () => console.log('listens'))`);
  const folder = folderOf({ 'app.mjs': here });
  await program(process.execPath, ['app.mjs'], { cwd: folder }).said(/listens/);
  const browser = await launch();
  onTestFinished(() => browser.close());
  const page = await browser.newPage();
  await page.goto(`http://127.0.0.1:${own}/`);
  await page.waitForSelector('.tagwait-waiting');
  const phone = await (await browser.newContext()).newPage();
  await phone.goto((await page.getAttribute('.tagwait-code', 'href')) as string);
  await page.waitForSelector('.tagwait-scanned');
  expect(await phone.textContent('h1')).toMatch(/^Sign in to My shop on Chrome/);
  await phone.getByRole('button', { name: 'Sign in' }).click();
  await page.waitForFunction(() => document.body.textContent === 'Hello ada');

  // the answer to a redeem is lost: the page asks again, with the cookies from before
  const url = `http://127.0.0.1:${own}`;
  const { body, given } = await post(`${url}/login/new`, {});
  const { key = '', proof = '' } = body as Record<string, string>;
  const signed = await fetch(`${url}/scan?key=${key}`);
  const hand = signed.headers.getSetCookie().join('; ');
  const scanned = await post(`${url}/login/scan`, { key }, hand);
  expect(scanned).toMatchObject({ status: 200, body: { show: { place: '127.0.0.1' } } });
  expect((await post(`${url}/login/approve`, { key }, hand)).status).toBe(200);
  const { data } = await poll(publicUrl, { key, proof, hold: '0' });
  const { code = '' } = data as Record<string, string>;
  const redeem = (cookie: string) => post(`${url}/login/redeem`, { key, code }, cookie);
  const sessions = [await redeem(given), await redeem(given)].map(({ status, given: cookies }) => {
    expect(status).toBe(200);
    return /connect\.sid=([^;]+)/.exec(cookies)?.[1];
  });
  expect(new Set(sessions.filter(Boolean)).size).toBe(2);
  expect((await redeem('visitor=eve')).status, 'another browser').toBe(403);
  for (const call of ['scan', 'approve', 'deny', 'redeem']) {
    const { status } = await fetch(`${url}/login/${call}`, { method: 'POST', headers: { Cookie: hand } });
    expect([call, status], 'without a body').toEqual([call, 400]);
  }
  expect((await post(`${url}/login/approve`, { key }, '')).status, 'a phone that is not signed in').toBe(401);
}, 90_000);
