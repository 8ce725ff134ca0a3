/** The live page in a browser: it shows what happens, and loads nothing from other hosts. */
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { quantile, Sampler } from '../src/live/sampler.js';
import { axeFaults } from './axe.js';
import { launch } from './chromium.js';
import { held, poll, set, spawned, until } from './harness.js';
import { onTestFinished, sideBySide } from './owner.js';
import { raw, request } from './raw.js';
import { redisServer } from './redis.js';

sideBySide();

let browser: Browser;
beforeAll(async () => {
  browser = await launch();
});
afterAll(() => browser.close());

async function open(url: string, width = 1100) {
  const page = await browser.newPage({ viewport: { width, height: 800 }, colorScheme: 'dark' });
  onTestFinished(() => page.close());
  const faults: string[] = [];
  const asked: string[] = [];
  page.on('pageerror', error => faults.push(error.message));
  page.on('console', message => message.type() === 'error' && faults.push(message.text()));
  page.on('request', request => asked.push(request.url()));
  await page.goto(`${url}/`);
  return { page, faults, asked };
}

test.concurrent('logins by state, once there was one', async () => {
  const node = await spawned({ TAGWAIT_SECRET: 's'.repeat(32) });
  const { page, faults } = await open(node.internalUrl);
  await page.locator('#nodes tr').first().waitFor();
  expect(await page.locator('#logins').isVisible()).toBe(false);
  const login = async (step: string, fields: object) => {
    const headers = { 'Content-Type': 'application/json' };
    const body = JSON.stringify(fields);
    const response = await fetch(`${node.internalUrl}/login/${step}`, { method: 'POST', headers, body });
    return (await response.json()) as { key: string };
  };
  const { key } = await login('new', { visitor: 'v' });
  for (const step of ['scan', 'scan', 'deny']) await login(step, { key, phone: 'p' });
  await page.locator('#logins').waitFor({ timeout: 30_000 });
  const shown = async () => (await page.locator('#logins').textContent()) ?? '';
  await until(async () => /begun1scanned1approved0denied1redeemed0/.test(await shown()), { within: 30_000 });
  expect(faults).toEqual([]);
});

test.concurrent('two nodes, a held page, a value, a limit, Redis away and back: all on the page, which requests nothing from other hosts', async () => {
  const redis = await redisServer();
  const env = { TAGWAIT_REDIS_URL: redis.url, TAGWAIT_MAX_HELD_PER_KEY: '1' };
  const [here, there] = [await spawned(env), await spawned(env)];
  const { page, faults, asked } = await open(here.internalUrl);
  const shows = (text: string | RegExp) => page.getByText(text).first().waitFor({ timeout: 30_000 });
  const waiting = poll(here.publicUrl, { key: 'a' });
  await held(here.internalUrl, 'a', 1);
  const stranger = raw(here.publicUrl, request('/status/get?key=a'), '127.0.0.2');
  await until(() => stranger.text.includes('"code":-3'));
  await shows('Redis reached');
  // a head, two nodes and their sum, from the first look on
  await page.locator('#nodes tr').first().waitFor();
  expect(await page.locator('#nodes tr').count()).toBe(4);
  await until(async () => /^1 of/.test((await page.locator('.tile .value').first().textContent()) ?? ''));
  await until(async () =>
    /too many requests on one key1/.test((await page.locator('#limits').textContent()) ?? ''),
  );
  await page.fill('#key', 'a');
  await page.click('#peek button');
  await shows(/^No value is kept; held: 1 on [\w.-]+\.$/);
  await set(there.internalUrl, { key: 'a', value: 1 });
  await waiting;
  await shows(/^1 value kept for .+; nobody waits\.$/);
  await set(there.internalUrl, { key: 'a', value: 'the second', final: true });
  const entries = () => page.locator('#entries td:last-child').allTextContents();
  await until(async () => (await entries()).join() === '"the second",1', { seen: entries });
  await until(async () => /^\d/.test((await page.locator('.tile .value').nth(3).textContent()) ?? ''));

  await redis.kill();
  await shows('Redis away');
  await shows('not ready');
  await shows(/^Redis has been away for \d+ s\. Pages stay held/);
  await shows('Other nodes are not shown while Redis is away.');
  expect(await page.locator('#nodes tr').count(), 'a head and this node').toBe(2);
  await redis.start();
  await shows('Redis reached');
  await page.locator('#notice').waitFor({ state: 'hidden' });
  await until(async () => (await page.locator('#nodes tr').count()) === 4);
  expect(await page.locator('#limits').textContent()).toMatch(/times Redis was away and came back1/);
  // the key is read again every two seconds, also in the moment before the page knows that Redis is away
  expect(faults.filter(fault => !fault.includes('503 (Service Unavailable)'))).toEqual([]);
  expect(new Set(asked.map(url => new URL(url).origin))).toEqual(new Set([here.internalUrl]));
  // held, not hammered: a poll per look, and what the page is made of
  expect(asked.filter(url => url.includes('/status/get')).length).toBeGreaterThan(1);

  here.process.kill('SIGKILL');
  await shows(/^No news from this node/);
});

test.concurrent('with set tokens it asks for one, once, and keeps it in this tab alone', async () => {
  const token = 't'.repeat(32);
  const { internalUrl, publicUrl } = await spawned({ TAGWAIT_SET_TOKENS: `${token},other` });
  expect((await fetch(`${internalUrl}/live`)).status).toBe(401);
  const { page } = await open(internalUrl);
  expect(await axeFaults(page)).toEqual([]);
  await page.fill('#token', 'wrong');
  await page.click('#ask button');
  await page.getByText('That is not one of').waitFor();
  await page.fill('#token', token);
  await page.click('#ask button');
  await page.getByText('embedded store').waitFor();
  await page.reload();
  await page.getByText('embedded store').waitFor();
  expect(page.url(), 'a token in an address is in logs and in the history').not.toContain(token);
  expect(await page.evaluate(() => [document.cookie, localStorage.length])).toEqual(['', 0]);

  const { key } = (await (
    await fetch(`${internalUrl}/live`, { headers: { Authorization: `Bearer ${token}` } })
  ).json()) as { key: string };
  expect((await poll(publicUrl, { key, hold: '0' })).code, 'the public port knows nothing of it').toBe(-1);
  expect(await until(async () => (await poll(internalUrl, { key })).code === 0)).toBe(true);
});

test.concurrent('nothing is cut off at any width, and axe finds no fault, dark or light', async () => {
  const { internalUrl } = await spawned();
  const { page } = await open(internalUrl, 320);
  await page.locator('#limits tr').first().waitFor();
  for (const width of [320, 375, 1440]) {
    await page.setViewportSize({ width, height: 800 });
    const [wide, room] = await page.evaluate(() => [
      document.documentElement.scrollWidth,
      document.documentElement.clientWidth,
    ]);
    expect(wide, `${width} px`).toBe(room);
  }
  for (const colorScheme of ['dark', 'light'] as const) {
    await page.emulateMedia({ colorScheme });
    expect(await axeFaults(page), colorScheme).toEqual([]);
  }
});

test('a quantile lies where straight lines say', () => {
  const buckets = [
    { bound: 1, count: 50 },
    { bound: 2, count: 100 },
    { bound: Number.POSITIVE_INFINITY, count: 100 },
  ];
  expect(quantile(0.5, buckets)).toBe(1);
  expect(quantile(0.75, buckets)).toBe(1.5);
  expect(quantile(0.5, [{ bound: Number.POSITIVE_INFINITY, count: 0 }])).toBe(null);
});

test('a look counts since the look before, and old ones are dropped', () => {
  const sampler = new Sampler(2);
  const polls = { value: 0, labels: { mode: 'json' } };
  const measured = [{ name: 'tagwait_polls_total', values: [polls] }];
  expect(sampler.take(measured, 0, 1000)).toBe(undefined);
  for (const at of [3000, 5000, 7000]) {
    polls.value += 10;
    expect(sampler.take(measured, 0, at)).toMatchObject({ at, polls: 5, p99: null });
  }
  expect(sampler.kept.map(sample => sample.at)).toEqual([5000, 7000]);
});
