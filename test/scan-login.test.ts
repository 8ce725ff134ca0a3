/** docs/scan-login.md: each of its backends is run, before a real tagwait and behind a line that fails. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
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

/** A line to tagwait's internal port that can lose answers, or keep them back. */
async function line(internalUrl: string) {
  const state = { lose: 0, lost: 0, keep: false, kept: [] as (() => void)[] };
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
    const send = () => response.writeHead(answer.status, { 'Content-Type': 'application/json' }).end(text);
    if (state.lose > 0) {
      state.lose--;
      state.lost++;
      response.destroy();
    } else if (state.keep) state.kept.push(send);
    else send();
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
  const body = response.status === 200 ? ((await response.json()) as Record<string, string>) : {};
  const given = response.headers
    .getSetCookie()
    .map(text => text.split(';')[0])
    .join('; ');
  return { status: response.status, body, given };
}

async function backend(language: string) {
  const { publicUrl, internalUrl } = await service({ secret: [SECRET], setTokens: [TOKEN] });
  const wire = await line(internalUrl);
  const folder = mkdtempSync(join(tmpdir(), 'tagwait-scan-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const { file, run } = RUNTIMES[language] as (typeof RUNTIMES)[string];
  writeFileSync(join(folder, file), blocks.find(block => block.language === language)?.text ?? '');
  const port = await freePort();
  const [command, ...args] = run(join(folder, file), port) as [string, ...string[]];
  const env = { TAGWAIT: wire.url, TOKEN, PORT: String(port), PHP_CLI_SERVER_WORKERS: '4', TMPDIR: folder };
  const app = program(command, args, { env, cwd: folder });
  const url = `http://127.0.0.1:${port}`;
  const answers = () =>
    fetch(url)
      .then(() => true)
      .catch(() => app.output().includes('rror') && fail(app.output()));
  await until(answers, { within: 120_000, every: 100 });
  return { publicUrl, internalUrl, wire, url };
}
function fail(text: string): never {
  throw new Error(text);
}

describe.each(Object.keys(RUNTIMES))('the backend in %s', language => {
  const { file, run, version } = RUNTIMES[language] as (typeof RUNTIMES)[string];
  const [command] = run(file, 0) as [string];
  const here = spawnSync(command, [version]).status === 0;
  if (!here) console.log(`left out: the backend in ${language}, because ${command} is not on this machine`);

  test.runIf(here)(
    'a login from scan to session, with a second phone, a stolen code and a line that loses answers',
    async () => {
      const { publicUrl, internalUrl, wire, url } = await backend(language);
      const begun = await post(`${url}/login/new`, {});
      expect(begun.status).toBe(200);
      const { key = '', proof = '' } = begun.body;
      expect(begun.given).toMatch(/^visitor=.{22,}$/);

      expect((await poll(publicUrl, { key })).code, 'the key alone does not watch').toBe(-5);
      const scanned = poll(publicUrl, { key, proof });
      await until(async () => {
        const asked = await fetch(`${internalUrl}/status/peek?key=${key}`, {
          headers: { authorization: `Bearer ${TOKEN}` },
        });
        return Object.values(((await asked.json()) as { waiters: Record<string, number> }).waiters)[0] === 1;
      });
      expect((await post(`${url}/login/confirm`, { key })).status, 'nobody confirms').toBe(401);
      expect(
        (await post(`${url}/login/confirm`, { key }, 'phone=ada')).status,
        'confirmed before it is scanned',
      ).toBe(403);
      wire.lose = 1;
      expect((await post(`${url}/login/scan`, { key }, 'phone=ada')).status).toBe(200);
      expect(wire.lost, 'the answer was lost once').toBe(1);
      const heard = await scanned;
      expect(heard).toMatchObject({ code: 0, data: { state: 'scanned' } });
      expect((await post(`${url}/login/scan`, { key }, 'phone=eve')).status, 'a second phone').toBe(409);
      expect((await post(`${url}/login/scan`, { key }, 'phone=ada')).status, 'the same phone, reloaded').toBe(
        200,
      );
      expect((await post(`${url}/login/confirm`, { key }, 'phone=eve')).status).toBe(403);
      expect((await post(`${url}/login/redeem`, { key, code: '' }, begun.given)).status, 'no code yet').toBe(
        403,
      );

      // the set is stored, and its acknowledgement is on its way for long: the page redeems all the same
      wire.keep = true;
      const confirmed = post(`${url}/login/confirm`, { key }, 'phone=ada');
      const { data, final } = await poll(publicUrl, { key, proof, since: heard.cursor as string });
      const { state, code = '' } = data as { state: string; code: string };
      expect([state, final]).toEqual(['confirmed', true]);
      expect((await post(`${url}/login/redeem`, { key, code }, 'visitor=eve')).status, 'stolen').toBe(403);
      expect((await post(`${url}/login/redeem`, { key, code: `${code}x` }, begun.given)).status).toBe(403);
      const redeemed = await post(`${url}/login/redeem`, { key, code }, begun.given);
      expect(redeemed.status, 'redeemed before the set is acknowledged').toBe(200);
      expect(redeemed.given).toMatch(/session=.{22,}/);
      expect((await post(`${url}/login/redeem`, { key, code }, begun.given)).status, 'once').not.toBe(200);
      await until(() => wire.kept.length === 1);
      wire.keep = false;
      for (const send of wire.kept) send();
      expect((await confirmed).status).toBe(200);
    },
    180_000,
  );
});

/** The site of the login: its page, and its backend behind it. */
async function origin(html: string, backendUrl: string): Promise<string> {
  const server = createServer(async (request, response) => {
    if (request.method === 'GET') return response.writeHead(200, { 'Content-Type': 'text/html' }).end(html);
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const { cookie = '', 'content-type': type = '' } = request.headers;
    const answer = await fetch(`${backendUrl}${request.url}`, {
      method: 'POST',
      headers: { cookie, 'content-type': type },
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
  return `${url}/`;
}

test('its page signs in, in a browser', async () => {
  const { publicUrl, url } = await backend('js');
  const html = blocks.find(block => block.language === 'html')?.text as string;
  const site = await origin(html.replace('https://status.example.com', publicUrl), url);
  const browser = await launch();
  onTestFinished(() => browser.close());
  const page = await browser.newPage();
  await page.goto(site);
  const said = async (text: string) =>
    until(async () => (await page.locator('#hint').textContent()) === text);
  const key = await until(
    async () => /key=(.+)/.exec((await page.locator('#code').textContent()) ?? '')?.[1],
  );
  await said('Scan the code with our app.');
  expect((await post(`${url}/login/scan`, { key }, 'phone=ada')).status).toBe(200);
  await said('Scanned. Say yes on your phone.');
  expect((await post(`${url}/login/confirm`, { key }, 'phone=ada')).status).toBe(200);
  await said('Signed in.');
  const cookies = await page.context().cookies();
  expect(cookies.map(cookie => cookie.name).sort()).toEqual(['session', 'visitor']);
});
