import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { startStand } from './stand.js';
import { startTabs } from './tabs.js';

// The script and the service that hands it out, together: what the scripted answers of the other tests stand for.
let service: ReturnType<typeof spawn>;
let tabs: Awaited<ReturnType<typeof startTabs>>;
let stand: Awaited<ReturnType<typeof startStand>>;
let pages = '';
let inside = '';

beforeAll(async () => {
  service = spawn(process.execPath, ['dist/cli.js'], {
    env: { ...process.env, TAGWAIT_PUBLIC_PORT: '0', TAGWAIT_INTERNAL_PORT: '0', TAGWAIT_HOLD: '2' },
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  for await (const line of createInterface({ input: service.stdout as NodeJS.ReadableStream })) {
    const urls = line.match(/http:\/\/[\w.:-]+/g) ?? [];
    if (urls.length < 2) continue;
    [pages, inside] = urls.map(url => url.replace('0.0.0.0', '127.0.0.1')) as [string, string];
    break;
  }
  [tabs, stand] = await Promise.all([startTabs(), startStand()]);
});
afterAll(async () => {
  const gone = new Promise(resolve => service.once('exit', resolve));
  await tabs?.close();
  await stand?.close();
  service.kill('SIGTERM');
  await gone;
});

const set = (body: object) =>
  fetch(`${inside}/status/set`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });

test('values, a time-out, several at once, and the last', async () => {
  const tag = `<script src="${pages}/client.js"></script><script>mine = tagwait.watch('real', handlers);</script>`;
  const tab = await tabs.open(stand.page({ key: 'real', tag }));
  const words = async () => ((await tab.evaluate('window.heard || []')) as [unknown][]).map(([what]) => what);
  const hears = (list: unknown[]) =>
    vi.waitFor(async () => expect(await words()).toEqual(list), { timeout: 60_000, interval: 50 });

  await hears(['state waiting']);
  expect((await set({ key: 'real', value: 'scanned' })).status).toBe(200);
  await hears(['state waiting', 'scanned']);
  const asked = () =>
    tab.evaluate(`performance.getEntriesByType('resource').filter(e => /status/.test(e.name)).length`);
  const before = (await asked()) as number;
  await vi.waitFor(async () => expect(await asked()).toBeGreaterThan(before + 1), { timeout: 60_000 });
  await Promise.all([1, 2, 3].map(value => set({ key: 'real', value })));
  await vi.waitFor(async () => expect((await words()).length).toBe(5), { timeout: 60_000 });
  expect(new Set((await words()).slice(2))).toEqual(new Set([1, 2, 3]));
  await set({ key: 'real', value: 'confirmed', final: true });
  await vi.waitFor(
    async () => expect((await words()).slice(5)).toEqual(['confirmed', 'state ended', 'end final']),
    {
      timeout: 60_000,
    },
  );
});
