/** The apps of examples/: each is started with the command that its README gives, played through over HTTP, and shown in Chromium. */
import { spawn } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { axeFaults } from './axe.js';
import { launch } from './chromium.js';
import { poll, until } from './harness.js';
import { onTestFinished, sideBySide } from './owner.js';
import { listenOnFree } from './ports.js';
import { program } from './program.js';
import { freePort } from './redis.js';

sideBySide();

const root = fileURLToPath(new URL('..', import.meta.url));
const readme = readFileSync(join(root, 'examples/README.md'), 'utf8');
const commands = new Map(
  [...readme.matchAll(/^\| \[([\w-]+)\]\([\w-]+\/app\.\w+\) \| `(.+?)` \|/gm)].map(
    ([, name, command]) => [name, command] as [string, string],
  ),
);

let browser: Browser;
beforeAll(async () => {
  browser = await launch();
});
afterAll(() => browser.close());

/** Starts an app, and opens its page. */
async function open(name: string, env: Record<string, string> = {}) {
  const PORT = String(await freePort());
  const [command = '', ...args] = (commands.get(name) as string).split(' ');
  const app = program(command, args, { cwd: root, env: { PORT, ...env } });
  const [, url = ''] = await app.said(/^Open (\S+)$/m);
  const context = await browser.newContext();
  onTestFinished(() => context.close());
  const faults: string[] = [];
  const visit = async (path: string) => {
    const page = await context.newPage();
    page.on('pageerror', error => faults.push(error.message));
    await page.goto(url + path);
    return page;
  };
  const post = (path: string, body = '', headers = {}) =>
    fetch(url + path, { method: 'POST', body, headers });
  return { url, page: await visit('/'), visit, post, faults };
}

const shows = (page: Page, selector: string, text: string) =>
  until(async () => (await page.locator(selector).first().textContent()) === text, {
    seen: () => text,
  });

test('every folder of an app is in the README, and no file of one has more than 60 lines', () => {
  const folders = readdirSync(join(root, 'examples'), { withFileTypes: true })
    .filter(entry => entry.isDirectory() && entry.name !== 'brokers')
    .map(entry => entry.name);
  expect([...commands.keys()].sort()).toEqual(folders.sort());
  for (const folder of folders)
    for (const name of readdirSync(join(root, 'examples', folder))) {
      const lines = readFileSync(join(root, 'examples', folder, name), 'utf8').split('\n').length - 1;
      expect(lines, `${folder}/${name}`).toBeLessThanOrEqual(60);
    }
});

test.concurrent.each([...commands])('%s: a taken port ends it with an error', async (_, command) => {
  const other = createServer();
  onTestFinished(() => void other.close());
  const PORT = String(await listenOnFree(other, '::'));
  const [file = '', ...args] = command.split(' ');
  const app = spawn(file, args, {
    cwd: root,
    env: { ...process.env, PORT },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  onTestFinished(() => void app.kill('SIGKILL'));
  let output = '';
  for (const stream of [app.stdout, app.stderr])
    stream.on('data', text => {
      output += text;
    });
  const [code] = await once(app, 'close');
  expect(code, output).toBe(1);
  expect(output).toMatch(/EADDRINUSE|Address already in use/);
  expect(output).not.toContain('Open http');
});

test.concurrent('order-status: each step reaches the page, and the last one ends the key', async () => {
  const { url, page, visit, post, faults } = await open('order-status');
  await shows(page, '#text', 'received');
  const path = new URL(page.url()).pathname;
  await page.click('#next');
  await shows(page, '#text', 'packed');
  expect(await axeFaults(page)).toEqual([]);
  for (const [status, text] of [
    [204, 'on its way'],
    [204, 'delivered'],
    [409, 'delivered'],
  ] as const) {
    expect((await post(`${path}/next`)).status).toBe(status);
    await shows(page, '#text', text);
  }
  await page.locator('#next:disabled').waitFor();
  const key = `order-${path.split('/')[2]}`;
  const { data, earlier, final } = await poll(url, { key });
  expect([earlier, data, final]).toEqual([
    [
      { step: 1, text: 'packed' },
      { step: 2, text: 'on its way' },
    ],
    { step: 3, text: 'delivered' },
    true,
  ]);
  await shows(await visit(path), '#text', 'delivered');
  expect(faults).toEqual([]);
});

test.concurrent('scan-login: the phone confirms, and only this browser is signed in', async () => {
  const { url, page, visit, faults } = await open('scan-login');
  const link = page.locator('a.tagwait-code, .tagwait-code a').first();
  const path = await until(async () => (await link.getAttribute('href'))?.replace(url, ''));
  expect(await axeFaults(page)).toEqual([]);
  const phone = await visit(path);
  await phone.locator('.tagwait-approve').click();
  await shows(page, 'h1', 'Hello Ada');
  const stranger = await (await fetch(url)).text();
  expect(stranger).toContain('Sign in with your phone');
  const key = new URLSearchParams(path.split('?')[1]).get('key') as string;
  const form = { 'Content-Type': 'application/x-www-form-urlencoded' };
  const late = await fetch(`${url}/login/redeem`, {
    method: 'POST',
    headers: form,
    body: `key=${key}&code=${'x'.repeat(22)}`,
  });
  expect(late.status).toBe(403);
  for (const call of ['scan', 'approve', 'deny', 'redeem'])
    expect((await fetch(`${url}/login/${call}`, { method: 'POST' })).status, `${call} without a body`).toBe(
      400,
    );
  expect(faults).toEqual([]);
});

test.concurrent('payment: the webhook comes twice, the page hears of it once, and a forged one is refused', async () => {
  const { page, post, faults } = await open('payment');
  await shows(page, '#say', 'Waiting for your payment');
  expect(await axeFaults(page)).toEqual([]);
  const payment = new URL(page.url()).pathname.split('/')[2] as string;
  const forged = JSON.stringify({ id: 'evt-1', payment, state: 'paid' });
  expect((await post('/webhook', forged, { 'X-Signature': '0'.repeat(64) })).status).toBe(401);
  await shows(page, '#say', 'Waiting for your payment');
  await page.click('#pay');
  await shows(page, '#say', 'Paid. Thank you!');
  const call = (id: string) => {
    const body = JSON.stringify({ id, payment: 'other', state: 'paid' });
    const signature = createHmac('sha256', 'whsec_test').update(body).digest('hex');
    return post('/webhook', body, { 'X-Signature': signature }).then(({ status }) => status);
  };
  expect([await call('evt-1'), await call('evt-1'), await call('evt-2')], 'a repeat is no conflict').toEqual([
    200, 200, 409,
  ]);
  expect(faults).toEqual([]);
});

test.concurrent('builds: six keys, one poll, and all six reach 100', async () => {
  const { page, faults } = await open('builds', { STEP_MS: '15' });
  const polls: string[] = [];
  page.on('request', request => request.url().includes('/status/get') && polls.push(request.url()));
  await page.click('#start');
  await shows(page, '#say', 'Built');
  expect(
    await page.locator('progress').evaluateAll(bars => bars.map(bar => bar.getAttribute('value'))),
  ).toHaveLength(6);
  expect(await page.locator('.right').allTextContents()).toEqual(Array(6).fill('done'));
  expect(
    polls.some(url => new URL(url).searchParams.getAll('key').length === 6),
    'one poll has all keys',
  ).toBe(true);
  expect(await axeFaults(page)).toEqual([]);
  expect(faults).toEqual([]);
});

test.concurrent('notifications: what is sent arrives, also at a page that was closed', async () => {
  const { page, visit, post, faults } = await open('notifications');
  await shows(page, 'h1', 'Ada: 0 new');
  const json = { 'Content-Type': 'application/json' };
  expect((await post('/send', JSON.stringify({ to: 'ada', text: 'one' }), json)).status).toBe(204);
  await shows(page, '#list li span:last-child', 'one');
  await page.close();
  const other = await visit('/inbox/grace');
  await other.fill('input', 'two');
  await other.click('button');
  const back = await visit('/inbox/ada');
  await shows(back, '#list li span:last-child', 'two');
  await shows(back, 'h1', 'Ada: 2 new');
  expect(await axeFaults(back)).toEqual([]);
  expect((await post('/send', JSON.stringify({ to: 'nobody', text: 'x' }), json)).status).toBe(404);
  expect((await fetch(new URL('/send', back.url()), { method: 'POST' })).status, 'without a body').toBe(404);
  expect(faults).toEqual([]);
});
