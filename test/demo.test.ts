/** The demo: the whole scan login in two browsers. */
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { readSvg } from './camera.js';
import { launch } from './chromium.js';
import { spawned, until } from './harness.js';
import { onTestFinished, sideBySide } from './owner.js';

sideBySide();

const PHONE =
  'Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Mobile Safari/537.36';
vi.setConfig({ testTimeout: 90_000 });
let browser: Browser;
beforeAll(async () => {
  browser = await launch();
});
afterAll(() => browser.close());

const demo = (env: Record<string, string> = {}) => spawned({ TAGWAIT_DEMO: 'true', ...env });

async function open(url: string, options: { userAgent?: string } = {}): Promise<Page> {
  const context = await browser.newContext({ viewport: { width: 390, height: 844 }, ...options });
  const errors: string[] = [];
  onTestFinished(async () => {
    await context.close();
    expect(errors, 'errors in the page').toEqual([]);
  });
  const page = await context.newPage();
  page.on('pageerror', error => errors.push(String(error)));
  await page.goto(url);
  return page;
}
const desktop = (publicUrl: string, query = '') => open(`${publicUrl}/demo${query}`);
const shows = (page: Page, state: string) =>
  page.waitForSelector(`#main[data-state=${state}]`, { state: 'attached', timeout: 40_000 });
const asked = (page: Page, state: string) => page.waitForSelector(`.tagwait-ask.tagwait-${state}`);

/** The text of the page's QR code. */
async function scanned(page: Page): Promise<string> {
  await shows(page, 'waiting');
  return readSvg(page, '.tagwait-modules');
}

/** The phone's browser, at the page that the code leads to. The link names this machine's address in its network. */
async function phone(publicUrl: string, link: string): Promise<Page> {
  const url = new URL(link);
  return open(`${publicUrl}${url.pathname}${url.search}`, { userAgent: PHONE });
}

describe.concurrent.each([
  ['without a secret', {}],
  ['with tickets', { TAGWAIT_SECRET: 'a-secret-of-the-tests-long-enough-for-them' }],
  ['with set tokens', { TAGWAIT_SET_TOKENS: 'a-token-of-the-tests-long-enough-for-them' }],
] as [string, Record<string, string>][])('%s', (_, env) => {
  test('waiting, scanned, confirmed, signed in; the code is good once', async () => {
    const { publicUrl } = await demo(env);
    const page = await desktop(publicUrl);
    const link = await scanned(page);
    expect(link).toMatch(/^http:\/\/[^/]+\/demo\/phone\?key=[\w.~-]+$/);
    const hand = await phone(publicUrl, link);
    await shows(page, 'scanned');
    await asked(hand, 'asked');
    expect(await hand.textContent('h1')).toMatch(
      /^Sign in to the tagwait demo on Chrome on Linux, the computer/,
    );
    await hand.getByRole('button', { name: 'Sign in' }).click();
    await shows(page, 'signed');
    expect(await page.textContent('.lead')).toContain('Pixel 8');
    await asked(hand, 'approved');
    const key = new URL(link).searchParams.get('key');
    const again = await page.evaluate(
      async body => (await fetch('/demo/redeem', { method: 'POST', body })).status,
      `key=${key}&code=guessed`,
    );
    expect(again).toBe(403);
    await page.getByRole('button', { name: 'Sign out' }).click();
    await shows(page, 'waiting');
  });
});

test.concurrent('refused on the phone: the page says so, and shows a new code', async () => {
  const { publicUrl } = await demo();
  const page = await desktop(publicUrl);
  const link = await scanned(page);
  const hand = await phone(publicUrl, link);
  await shows(page, 'scanned');
  await hand.getByRole('button', { name: 'Decline' }).click();
  await shows(page, 'denied');
  await asked(hand, 'denied');
  await page.getByRole('button', { name: 'New code' }).click();
  expect(await scanned(page)).not.toBe(link);
});

test.concurrent('a code that expires is followed by a new one', async () => {
  const { publicUrl } = await demo();
  const page = await desktop(publicUrl, '?seconds=5');
  const first = await scanned(page);
  const href = () => page.getAttribute('.tagwait-code', 'href');
  await until(async () => ((await href()) ?? first) !== first, { within: 40_000 });
  await asked(await phone(publicUrl, first), 'expired');
});

test.concurrent('a second phone shows that another phone has the code', async () => {
  const { publicUrl } = await demo();
  const page = await desktop(publicUrl);
  const link = await scanned(page);
  const one = await phone(publicUrl, link);
  await shows(page, 'scanned');
  const two = await phone(publicUrl, link);
  await asked(two, 'taken');
  expect(await two.getByRole('button').count()).toBe(0);
  await one.getByRole('button', { name: 'Sign in' }).click();
  await shows(page, 'signed');
});

test.concurrent('the service is killed and comes back in between: a new code, and the login goes on', async () => {
  const first = await demo();
  const page = await desktop(first.publicUrl);
  const link = await scanned(page);
  first.process.kill('SIGKILL');
  await first.ended;
  await page.waitForSelector('.tagwait-offline', { state: 'attached', timeout: 60_000 });
  const ports = {
    TAGWAIT_PUBLIC_PORT: new URL(first.publicUrl).port,
    TAGWAIT_INTERNAL_PORT: new URL(first.internalUrl).port,
  };
  const second = await demo(ports);
  const href = () => page.getAttribute('.tagwait-code', 'href');
  await until(async () => ((await href()) ?? link) !== link, { within: 60_000 });
  await phone(second.publicUrl, await scanned(page));
  await shows(page, 'scanned');
});

test.concurrent('off by default', async () => {
  const { publicUrl } = await spawned();
  expect((await fetch(`${publicUrl}/demo`)).status).toBe(404);
});
