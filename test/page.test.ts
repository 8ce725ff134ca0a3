/** The main job: a login page on one origin, in a real browser, gets what curl sets on another. */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { promisify } from 'node:util';
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { launch, site } from './chromium.js';
import { held, set, spawned, until } from './harness.js';
import { onTestFinished, sideBySide } from './owner.js';
import { freePort } from './redis.js';

sideBySide();

const run = promisify(execFile);
let browser: Browser;
beforeAll(async () => {
  browser = await launch();
});
afterAll(() => browser.close());

async function open(html: string) {
  const context = await browser.newContext();
  onTestFinished(() => context.close());
  const page = await context.newPage();
  const errors: string[] = [];
  page.on('pageerror', error => errors.push(String(error)));
  const heard = () => page.evaluate(() => (globalThis as unknown as { heard: unknown[] }).heard);
  await page.goto(await site(html));
  return { page, errors, heard };
}
const hears = (heard: () => Promise<unknown[]>, wanted: unknown[]) =>
  until(async () => JSON.stringify(await heard()) === JSON.stringify(wanted));

test.concurrent('tagwait.watch hears scanned and then confirmed, set with plain curl', async () => {
  const { publicUrl, internalUrl } = await spawned();
  const curl = (...data: string[]) =>
    run('curl', ['-s', `${internalUrl}/status/set`, ...data.flatMap(one => ['-d', one])]);
  const { heard, errors } =
    await open(`<!doctype html><title>login</title><script src="${publicUrl}/client.js"></script><script>
    var heard = [];
    tagwait.watch('login-1', {
      onvalue: function (value, info) { heard.push(value); },
      onend: function (reason) { heard.push('end: ' + reason); }
    });
  </script>`);
  await held(internalUrl, 'login-1', 1);
  expect(JSON.parse((await curl('key=login-1', 'value=scanned')).stdout)).toMatchObject({
    code: 0,
    watched: true,
  });
  await hears(heard, ['scanned']);
  await curl('key=login-1', 'value={"state":"confirmed","code":"one-time"}', 'final=true');
  await hears(heard, ['scanned', { state: 'confirmed', code: 'one-time' }, 'end: final']);
  expect(errors).toEqual([]);
});

test.concurrent('nothing but the tag', async () => {
  const { publicUrl, internalUrl } = await spawned();
  const { heard } = await open(`<!doctype html><title>login</title><script>
    var heard = [];
    function onLogin(value) { heard.push(value); }
    function onClose(reason) { heard.push('end: ' + reason); }
  </script><script src="${publicUrl}/client.js" data-key="login-2" data-onvalue="onLogin" data-onend="onClose"></script>`);
  await held(internalUrl, 'login-2', 1);
  await set(internalUrl, { key: 'login-2', value: 'confirmed', final: true });
  await hears(heard, ['confirmed', 'end: final']);
});

test.concurrent('subresource integrity: the script of a version loads with its hash, and with no other', async () => {
  const { publicUrl, internalUrl } = await spawned();
  const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));
  const address = `${publicUrl}/client/${version}.js`;
  const script = await (await fetch(address)).text();
  const withHash = (hash: string) =>
    open(`<!doctype html><title>login</title>
      <script src="${address}" integrity="sha384-${hash}" crossorigin="anonymous"></script>
      <script>
        var heard = [];
        if (window.tagwait) tagwait.watch('login-5', { onvalue: function (value) { heard.push(value); } });
        else heard.push('not loaded');
      </script>`);
  const sha384 = (text: string) => createHash('sha384').update(text).digest('base64');
  const good = await withHash(sha384(script));
  await held(internalUrl, 'login-5', 1);
  await set(internalUrl, { key: 'login-5', value: 'confirmed' });
  await hears(good.heard, ['confirmed']);
  const bad = await withHash(sha384(`${script} `));
  await hears(bad.heard, ['not loaded']);
});

test.concurrent("what a handler throws: its text reaches the page's window.onerror with crossorigin only", async () => {
  const { publicUrl, internalUrl } = await spawned();
  const throwing = (key: string, attribute: string) =>
    open(`<!doctype html><title>login</title><script>
      var heard = [];
      window.onerror = function (message) { heard.push(message); };
      function boom() { throw new Error('boom'); }
    </script><script src="${publicUrl}/client.js" ${attribute} data-key="${key}" data-onvalue="boom"></script>`);
  const plain = await throwing('login-6', '');
  const crossOrigin = await throwing('login-7', 'crossorigin="anonymous"');
  for (const key of ['login-6', 'login-7']) {
    await held(internalUrl, key, 1);
    await set(internalUrl, { key, value: 1 });
  }
  await hears(plain.heard, ['Script error.']);
  await hears(crossOrigin.heard, ['Uncaught Error: boom']);
});

test.concurrent('a declared tag in a shadow root starts no watch; one in the document does', async () => {
  const { publicUrl, internalUrl } = await spawned();
  const { page } = await open(`<!doctype html><title>login</title><div></div><script>
    var heard = [];
    var root = document.querySelector('div').attachShadow({ mode: 'open' });
    function add(to, key) {
      var tag = document.createElement('script');
      tag.src = '${publicUrl}/client.js?' + key;
      tag.setAttribute('data-key', key);
      tag.onload = function () { heard.push(key); };
      to.appendChild(tag);
    }
    add(root, 'login-8');
    setTimeout(function () { add(document.body, 'login-9'); }, 500);
  </script>`);
  await page.waitForFunction('heard.length === 2');
  await held(internalUrl, 'login-9', 1);
  const { waiters } = (await (await fetch(`${internalUrl}/status/peek?key=login-8`)).json()) as {
    waiters: Record<string, number>;
  };
  expect(Object.values(waiters).reduce((sum, count) => sum + count, 0)).toBe(0);
});

test.concurrent('time-outs are asked again, and the page loads meanwhile', async () => {
  const { publicUrl, internalUrl } = await spawned({ TAGWAIT_HOLD: '0.3' });
  const { page, heard } =
    await open(`<!doctype html><title>login</title><script src="${publicUrl}/client.js"></script><script>
    var heard = [], loaded = false;
    window.onload = function () { loaded = true; };
    tagwait.watch('login-3', { onvalue: function (value) { heard.push(value); } });
  </script>`);
  await page.waitForFunction('loaded');
  const timeouts = async () =>
    Number(/answer="timeout"} (\d+)/.exec(await (await fetch(`${internalUrl}/metrics`)).text())?.[1] ?? 0);
  await until(async () => (await timeouts()) >= 4);
  await set(internalUrl, { key: 'login-3', value: 1 });
  await hears(heard, [1]);
});

test.concurrent('the service is killed and comes back: the page goes on, and hears what is set after', async () => {
  const [publicPort, internalPort] = [String(await freePort()), String(await freePort())];
  const ports = { TAGWAIT_PUBLIC_PORT: publicPort, TAGWAIT_INTERNAL_PORT: internalPort };
  const first = await spawned(ports);
  const { heard, errors } =
    await open(`<!doctype html><title>login</title><script src="${first.publicUrl}/client.js"></script><script>
    var heard = [];
    tagwait.watch('login-4', { onvalue: function (value) { heard.push(value); } });
  </script>`);
  await held(first.internalUrl, 'login-4', 1);
  await set(first.internalUrl, { key: 'login-4', value: 'scanned' });
  await hears(heard, ['scanned']);
  first.process.kill('SIGKILL');
  await first.ended;
  const second = await spawned(ports);
  await set(second.internalUrl, { key: 'login-4', value: 'confirmed' });
  await hears(heard, ['scanned', 'confirmed']);
  expect(errors).toEqual([]);
});
