/**
 * docs/scan-login.md: each of its backends is run, before a real tagwait and behind a line that fails. And the app of the
 * README, as it stands there.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer, type ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { blocksOf } from './blocks.js';
import { launch } from './chromium.js';
import { listen, poll, service, until } from './harness.js';
import { program } from './program.js';
import { freePort } from './redis.js';

const SECRET = '0123456789abcdef0123456789abcdef';
const TOKEN = 'a-token-of-the-backend';
/** Lines of a backend besides its imports, and those of Java and Go, which need more for the same. */
const LINES: Record<string, number> = { java: 40, go: 36 };

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

/** A line to tagwait's internal port that can lose answers. */
async function line(internalUrl: string) {
  const state = { lose: 0, lost: 0 };
  const server = createServer(async (request, response: ServerResponse) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const { authorization = '', 'content-type': type = '' } = request.headers;
    const answer = await fetch(`${internalUrl}${request.url}`, {
      method: 'POST',
      headers: { authorization, 'content-type': type },
      body: Buffer.concat(chunks),
    });
    const text = await answer.text();
    if (state.lose > 0) {
      state.lose--;
      state.lost++;
      response.destroy();
    } else response.writeHead(answer.status, { 'Content-Type': 'application/json' }).end(text);
  });
  const url = await listen(server);
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return Object.assign(state, { url });
}

/** Posts as a browser with these cookies. */
async function post(url: string, fields: Record<string, string>, cookie = '') {
  const response = await fetch(url, {
    method: 'POST',
    headers: { cookie },
    body: new URLSearchParams(fields),
  });
  const text = await response.text();
  const body = response.status === 200 ? (JSON.parse(text) as Record<string, string>) : {};
  const given = response.headers
    .getSetCookie()
    .map(text => text.split(';')[0])
    .join('; ');
  return { status: response.status, body, given };
}

async function backend(language: string, site?: string) {
  const { publicUrl, internalUrl } = await service({ secret: [SECRET], setTokens: [TOKEN] });
  const wire = await line(internalUrl);
  const folder = mkdtempSync(join(tmpdir(), 'tagwait-scan-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  symlinkSync(join(import.meta.dirname, '../node_modules'), join(folder, 'node_modules'));
  const { file, run } = RUNTIMES[language] as (typeof RUNTIMES)[string];
  writeFileSync(join(folder, file), blocks.find(block => block.language === language)?.text ?? '');
  const port = await freePort();
  const [command, ...args] = run(join(folder, file), port) as [string, ...string[]];
  const url = `http://127.0.0.1:${port}`;
  const own = { TAGWAIT: wire.url, TOKEN, PORT: String(port), SITE: site ?? url };
  const app = program(command, args, {
    env: { ...own, PHP_CLI_SERVER_WORKERS: '4', TMPDIR: folder },
    cwd: folder,
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

describe.each(Object.keys(RUNTIMES))('the backend in %s', language => {
  const { file, run, version } = RUNTIMES[language] as (typeof RUNTIMES)[string];
  const [command] = run(file, 0) as [string];
  const here = spawnSync(command, [version]).status === 0;
  if (!here) console.log(`left out: the backend in ${language}, because ${command} is not on this machine`);

  test('is short', () => {
    const text = blocks.find(block => block.language === language)?.text ?? '';
    const imports = /^(import|package|from|#include|<\?php|\t"|\)$|\s*$)/;
    const lines = text.split('\n').filter(line => !imports.test(line));
    expect(lines.length).toBeLessThanOrEqual(LINES[language] ?? 29);
  });

  test.runIf(here)(
    'a login from scan to session: lost answers, a double tap, a second phone, a stolen code, a refusal',
    async () => {
      const { publicUrl, wire, url } = await backend(language);
      wire.lose = 1;
      const begun = await post(`${url}/login/new`, {});
      expect([begun.status, wire.lost]).toEqual([200, 1]);
      const { key = '', proof = '', link } = begun.body;
      expect(link).toBe(`${url}/scan?key=${key}`);
      expect(begun.given).toMatch(/^visitor=.{22,}$/);
      expect((await poll(publicUrl, { key })).code, 'the key alone does not watch').toBe(-5);

      const step = async (call: string, cookie = 'phone=ada', more = {}) =>
        (await post(`${url}/login/${call}`, { key, ...more }, cookie)).status;
      expect(await step('approve', ''), 'nobody').toBe(401);
      expect(await step('approve'), 'before it is scanned').toBe(409);
      wire.lose = 1;
      const scanned = await post(`${url}/login/scan`, { key }, 'phone=ada');
      expect(scanned).toMatchObject({ status: 200, body: { show: { site: 'Example', browser: 'node' } } });
      const heard = await poll(publicUrl, { key, proof });
      expect(heard).toMatchObject({ code: 0, data: { state: 'scanned' } });
      expect(await step('scan', 'phone=eve'), 'a second phone').toBe(409);
      expect(await step('scan'), 'the same phone, reloaded').toBe(200);
      expect(await step('approve', 'phone=eve')).toBe(409);
      const wrong = await step('redeem', begun.given, { code: 'guessed' });
      expect(wrong, 'no code yet').toBeGreaterThanOrEqual(400);

      wire.lose = 1;
      expect(await Promise.all([step('approve'), step('approve')]), 'a double tap').toEqual([200, 200]);
      const { data, final } = await poll(publicUrl, { key, proof, since: heard.cursor as string });
      const { state, code = '' } = data as { state: string; code: string };
      expect([state, final]).toEqual(['approved', true]);
      expect(await step('deny'), 'no after yes').toBe(409);
      expect(await step('redeem', 'visitor=eve', { code }), 'stolen').toBe(403);
      expect(await step('redeem', begun.given, { code: `${code}x` })).toBe(403);
      wire.lose = 1;
      const redeemed = await post(`${url}/login/redeem`, { key, code }, begun.given);
      expect([redeemed.status, 'user' in redeemed.body]).toEqual([200, false]);
      expect(redeemed.given).toMatch(/session=.{22,}/);
      expect(await step('redeem', begun.given, { code }), 'the page asks again').toBe(200);
      expect(await step('redeem', 'visitor=eve', { code })).toBe(403);
      expect(await step('approve'), 'a retry after the redeem').toBe(200);

      const other = (await post(`${url}/login/new`, {}, begun.given)).body;
      const said = async (call: string) =>
        (await post(`${url}/login/${call}`, { key: other.key ?? '' }, 'phone=ada')).status;
      expect([await said('scan'), await said('deny'), await said('deny')]).toEqual([200, 200, 200]);
      expect(await said('approve'), 'yes after no').toBe(409);
      const refused = await poll(publicUrl, { key: other.key ?? '', proof: other.proof ?? '' });
      expect(refused).toMatchObject({ data: { state: 'denied' }, final: true });
      expect((await post(`${url}/login/scan`, { key: 'unknown' }, 'phone=ada')).status).toBe(404);
    },
    180_000,
  );
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
  const { publicUrl, url } = await backend('js', site);
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
  const folder = mkdtempSync(join(tmpdir(), 'tagwait-readme-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  symlinkSync(join(import.meta.dirname, '../node_modules'), join(folder, 'node_modules'));
  writeFileSync(join(folder, 'app.mjs'), here);
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
  const again = await page.request.post(`http://127.0.0.1:${own}/login/redeem`, {
    form: { key: 'a', code: 'b' },
  });
  expect(again.status(), 'a code that was never given').toBeGreaterThanOrEqual(400);
}, 90_000);
