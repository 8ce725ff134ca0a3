/** The demo: the whole scan login, clicked through in two browsers. */
import { createRequire } from 'node:module';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest';
import type { Backend, Status } from '../src/demo/backend.js';
import { Logins } from '../src/demo/logins.js';
import { launch } from './chromium.js';
import { spawned, until } from './harness.js';

// CommonJS whose types say ESM
const read = createRequire(import.meta.url)('jsqr') as typeof import('jsqr').default;
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
  onTestFinished(() => context.close());
  const page = await context.newPage();
  page.on('pageerror', error => expect.soft(String(error)).toBe('no error in the page'));
  await page.goto(url);
  return page;
}
const desktop = (publicUrl: string, query = '') => open(`${publicUrl}/demo${query}`);
const shows = (page: Page, state: string) =>
  page.waitForSelector(`#main[data-state=${state}]`, { state: 'attached', timeout: 40_000 });

/** What a camera reads off the page's code. */
async function scanned(page: Page): Promise<string> {
  await shows(page, 'waiting');
  const side = 260;
  const pixels = await page.evaluate(async side => {
    const svg = document.querySelector('#qr svg') as SVGElement;
    const text = new XMLSerializer()
      .serializeToString(svg)
      .replace('<svg', '<svg width="500" height="500" color="#000"');
    const image = new Image();
    await new Promise(resolve => {
      image.onload = resolve;
      image.src = `data:image/svg+xml,${encodeURIComponent(text)}`;
    });
    const canvas = Object.assign(document.createElement('canvas'), { width: side, height: side });
    const context = canvas.getContext('2d') as CanvasRenderingContext2D;
    context.fillStyle = '#fff';
    context.fillRect(0, 0, side, side);
    context.drawImage(image, 20, 20, side - 40, side - 40);
    let dark = '';
    const { data } = context.getImageData(0, 0, side, side);
    for (let red = 0; red < data.length; red += 4) dark += (data[red] as number) < 128 ? '#' : '.';
    return dark;
  }, side);
  const rgba = Uint8ClampedArray.from(
    [...pixels].flatMap(dot => (dot === '#' ? [0, 0, 0, 255] : [255, 255, 255, 255])),
  );
  return read(rgba, side, side)?.data ?? 'not a code';
}

/** The phone's browser, at the page that the code leads to. The link names this machine's address in its network. */
async function phone(publicUrl: string, link: string): Promise<Page> {
  const url = new URL(link);
  return open(`${publicUrl}${url.pathname}${url.search}`, { userAgent: PHONE });
}

describe.each([
  ['without tickets', {}],
  [
    'with tickets',
    {
      TAGWAIT_SECRET: 'a secret of the tests, long enough for them'.replaceAll(' ', '-').replaceAll(',', ''),
    },
  ],
  ['with set tokens', { TAGWAIT_SET_TOKENS: 'a-token-of-the-tests-long-enough-for-them' }],
] as [string, Record<string, string>][])('%s', (_, env) => {
  test('waiting, scanned with the phone’s name, confirmed, signed in; the code is good once', async () => {
    const { publicUrl } = await demo(env);
    const page = await desktop(publicUrl);
    const link = await scanned(page);
    expect(link).toMatch(/^http:\/\/[^/]+\/demo\/phone\?key=[\w.~-]+$/);
    const hand = await phone(publicUrl, link);
    await shows(page, 'scanned');
    expect(await page.textContent('#over')).toContain('Pixel 8');
    await hand.getByRole('button', { name: 'Confirm' }).click();
    await shows(page, 'signed');
    expect(await page.textContent('#title')).toContain('Hello');
    const key = new URL(link).searchParams.get('key');
    const again = await page.evaluate(
      async body => (await fetch('/demo/redeem', { method: 'POST', body })).status,
      JSON.stringify({ key, code: 'guessed' }),
    );
    expect(again).toBe(403);
  });
});

// Only a backend of our own can hear the page's redeeming before its set is acknowledged, as happens on a busy machine.
test('a page may redeem before the set that told it is acknowledged', async () => {
  const redeemed: unknown[] = [];
  const heard = async ({ key, value }: Status) => {
    const { code } = value as { code?: string };
    if (code) redeemed.push(logins.redeem(page, key, code).name);
    return 'a-1';
  };
  const logins = new Logins({ set: heard } as unknown as Backend, false);
  const page = { id: 'page', address: '127.0.0.1', agent: '' };
  const hand = { ...page, id: 'phone' };
  const { key } = await logins.begin(page, undefined, undefined);
  await logins.scan(hand, key, 'Ada');
  await logins.confirm(hand, key, 'Ada');
  expect(redeemed).toEqual(['Ada']);
});

test('refused on the phone: told so, and a new code', async () => {
  const { publicUrl } = await demo();
  const page = await desktop(publicUrl);
  const link = await scanned(page);
  const hand = await phone(publicUrl, link);
  await shows(page, 'scanned');
  await hand.getByRole('button', { name: 'Refuse' }).click();
  await shows(page, 'refused');
  await page.getByRole('button', { name: 'Try again' }).click();
  expect(await scanned(page)).not.toBe(link);
});

test('a code that expires is followed by a new one', async () => {
  const { publicUrl } = await demo();
  const page = await desktop(publicUrl, '?seconds=1');
  const first = await scanned(page);
  await until(async () => (await page.getAttribute('#link', 'href')) !== first, { within: 40_000 });
  const late = await phone(publicUrl, first);
  await until(async () => /expired|over|new code/i.test((await late.textContent('main')) ?? ''));
});

test('a second phone is told that another has it', async () => {
  const { publicUrl } = await demo();
  const page = await desktop(publicUrl);
  const link = await scanned(page);
  const one = await phone(publicUrl, link);
  await shows(page, 'scanned');
  const two = await phone(publicUrl, link);
  await until(async () => /another|already/i.test((await two.textContent('main')) ?? ''));
  expect(await two.getByRole('button', { name: 'Confirm' }).isVisible()).toBe(false);
  await one.getByRole('button', { name: 'Confirm' }).click();
  await shows(page, 'signed');
});

test('the service is killed and comes back in between: a new code, and the login goes on', async () => {
  const first = await demo();
  const page = await desktop(first.publicUrl);
  const link = await scanned(page);
  first.process.kill('SIGKILL');
  await first.ended;
  await page.waitForSelector('#main[data-away]', { state: 'attached', timeout: 60_000 });
  const ports = {
    TAGWAIT_PUBLIC_PORT: new URL(first.publicUrl).port,
    TAGWAIT_INTERNAL_PORT: new URL(first.internalUrl).port,
  };
  const second = await demo(ports);
  await until(async () => (await page.getAttribute('#link', 'href')) !== link, { within: 40_000 });
  await phone(second.publicUrl, await scanned(page));
  await shows(page, 'scanned');
});

test('off by default', async () => {
  const { publicUrl } = await spawned();
  expect((await fetch(`${publicUrl}/demo`)).status).toBe(404);
});
