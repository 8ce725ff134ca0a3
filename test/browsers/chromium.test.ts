import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { startStand } from './stand.js';
import { startTabs } from './tabs.js';

// What needs more than a page that reports by itself: real tabs, the back/forward cache, headers, a changed clock.
let stand: Awaited<ReturnType<typeof startStand>>;
let tabs: Awaited<ReturnType<typeof startTabs>>;
type Tab = Awaited<ReturnType<typeof tabs.open>>;

beforeAll(async () => {
  tabs = await startTabs();
});
afterAll(() => tabs.close());

let open: Tab[] = [];
beforeEach(async () => {
  stand = await startStand();
});
afterEach(async () => {
  for (const tab of open) await tab.close().catch(() => {});
  open = [];
  await stand.close();
});

async function show(url: string): Promise<Tab> {
  const tab = await tabs.open(url);
  open.push(tab);
  return tab;
}
/** ms: an idle machine takes a tenth of it, and a page that was passed over waits for the end of a hold. */
const SOON = 3000;
const until = (check: () => unknown, timeout = 60_000) => vi.waitFor(check, { timeout, interval: 25 });
const heard = async (tab: Tab) => (await tab.evaluate('window.heard || []')) as [unknown, number][];
const words = async (tab: Tab) => (await heard(tab)).map(([what]) => what);
const asked = (key: string, count = 1) =>
  until(() => expect(stand.of(key).length).toBeGreaterThanOrEqual(count));

/** Sets a value and returns after how many milliseconds the page heard it. */
async function delay(tab: Tab, key: string, value: string): Promise<number> {
  const set = Date.now();
  stand.set(key, value);
  let when = 0;
  await until(async () => {
    when = (await heard(tab)).find(([what]) => what === value)?.[1] ?? 0;
    expect(when, `${key} hears ${value}`).toBeGreaterThan(0);
  });
  return when - set;
}

describe('tabs', () => {
  test('a hidden tab alone hears within a second, and asks again straight from the callback', async () => {
    const tab = await show(stand.page({ key: 'alone' }));
    await asked('alone');
    await show('about:blank');
    await until(async () => expect(await tab.evaluate('document.hidden')).toBe(true));
    for (let i = 1; i <= 5; i++) {
      expect(await delay(tab, 'alone', `value ${i}`)).toBeLessThan(SOON);
      await asked('alone', i + 1);
      expect((stand.of('alone').at(-1)?.at ?? Infinity) - ((await heard(tab)).at(-1)?.[1] ?? 0)).toBeLessThan(
        SOON,
      );
    }
  });

  test('the seventh tab: the visible one of ten hears at once, a shown one too, and the last one left', () =>
    tenTabs());

  test('the seventh tab, with all storage blocked', async () => {
    const allowed = tabs;
    tabs = await startTabs({ storage: false });
    try {
      await tenTabs();
      await expect(open.at(-2)?.evaluate('localStorage')).rejects.toThrow();
    } finally {
      await tabs.close();
      tabs = allowed;
      open = [];
    }
  });

  async function tenTabs(): Promise<void> {
    const keys = Array.from({ length: 10 }, (_, i) => `tab${i}`);
    const all: Tab[] = [];
    for (const key of keys) {
      all.push(await show(stand.page({ key })));
      await asked(key);
    }
    const last = all[9] as Tab;
    expect(await last.evaluate('document.hidden')).toBe(false);
    for (const value of ['one', 'two', 'three']) expect(await delay(last, 'tab9', value)).toBeLessThan(SOON);

    for (const [i, tab] of all.entries()) {
      stand.set(`tab${i}`, 'shown');
      const shown = Date.now();
      await tab.show();
      await until(async () => expect(await words(tab)).toContain('shown'));
      expect(((await heard(tab)).at(-1)?.[1] ?? Infinity) - shown).toBeLessThan(SOON);
    }
    const long = new Set(stand.polls.filter(poll => poll.hold !== '1').map(poll => poll.key));
    expect(long.size, 'three tabs hold at leisure, the others a second').toBe(3);

    // All but one go, and that one is hidden.
    await show('about:blank');
    for (const tab of all.slice(0, 9)) await tab.close();
    const before = stand.of('tab9').length;
    await asked('tab9', before + 1);
    await until(() => expect(stand.held()).toBe(1));
    expect(await delay(last, 'tab9', 'left')).toBeLessThan(SOON);
  }

  test('the back/forward cache: silent when left, asks at once when back, loses nothing', async () => {
    const before = 'var back = 0; addEventListener("pageshow", function (e) { if (e.persisted) back++; });';
    const tab = await show(stand.page({ key: 'cached', before }));
    // the first poll is short, and its answer may be kept for the page: the second is held for as long as it is away
    await asked('cached', 2);
    const leave = async () => {
      await tab.go(stand.page({ key: 'other' }));
      await until(async () => expect(await tab.evaluate('document.title')).toBe('other'));
    };
    const back = async (times: number) => {
      await tab.evaluate('history.back()');
      await until(async () => expect(await tab.evaluate('window.back')).toBe(times));
    };
    await leave();
    await back(1);
    await asked('cached', 3);
    await leave();
    stand.set('cached', 'meanwhile');
    await back(2);
    await until(async () => expect(await words(tab)).toEqual(['state waiting', 'meanwhile']));
    expect(await delay(tab, 'cached', 'after')).toBeLessThan(SOON);
    expect(await words(tab)).toEqual(['state waiting', 'meanwhile', 'after']);
  });

  test('window.stop() closes the poll, and it asks again', async () => {
    const tab = await show(stand.page({ key: 'stopped' }));
    await asked('stopped');
    await tab.evaluate('stop()');
    await asked('stopped', 2);
    await delay(tab, 'stopped', 'well');
    expect(await words(tab)).toEqual(['state waiting', 'well']);
  });
});

describe('waiting', () => {
  test('an event asks at once when the poll is older than a moment, and not before', async () => {
    const clock = `var ahead = 0, Real = Date; Date = function () { return new Real(Real.now() + ahead); }; Date.now = Real.now;`;
    const tab = await show(stand.page({ key: 'slept', before: clock }));
    await asked('slept', 2);
    await tab.evaluate(
      'ahead = 60000; dispatchEvent(new Event("focus")); dispatchEvent(new Event("online"))',
    );
    await asked('slept', 3);
    await until(() => expect(stand.drops.length).toBe(1));
    expect(stand.of('slept').length, 'two events, one poll').toBe(3);
    await delay(tab, 'slept', 'awake');
    expect(await words(tab)).toEqual(['state waiting', 'awake']);
  });

  test('coming online cuts the own wait short, but not the wait the service asked for', async () => {
    const own = await show(stand.page({ key: 'own', before: 'Math.random = function () { return 0.5; };' }));
    stand.sicken('empty');
    stand.set('own', 'unheard'); // answered from before the sickness, and asks again
    await asked('own', 4);
    const tries = stand.of('own').length;
    await until(async () => {
      await own.evaluate('dispatchEvent(new Event("online"))');
      expect(stand.of('own').length).toBeGreaterThan(tries + 3);
    }, 1500);

    stand.sicken({ code: -3, message: 'busy', retry: 5000 });
    const busy = await show(stand.page({ key: 'busy' }));
    await until(async () => expect(await words(busy)).toContain('state busy'));
    await busy.evaluate('dispatchEvent(new Event("online")); dispatchEvent(new Event("focus"))');
    await busy.evaluate('new Promise(function (done) { setTimeout(done, 500) })');
    expect(stand.of('busy').length).toBe(1);
  });
});

describe('options', () => {
  test('since, hold and proof go into the question, without the slash at the end of the address', async () => {
    const port = new URL(stand.service).port;
    const options = `{ url: 'http://s1.localhost:${port}/', since: '0', hold: 7, proof: '1900000000.a-b_c' }`;
    await show(stand.page({ key: 'o:1', options }));
    await asked('o:1', 2); // the first is short
    expect(stand.of('o:1')[0]).toMatchObject({ since: '0', hold: '1', proof: '1900000000.a-b_c' });
    expect(stand.of('o:1')[1]).toMatchObject({ since: '0', hold: '7', proof: '1900000000.a-b_c' });
    expect(stand.of('o:1')[0]?.host).toMatch(/^s1\.localhost:/);
  });

  test('nothing but the tag, its handlers defined after it', async () => {
    const tag = `<script src="${stand.service}/client.js" data-key="tag" data-hold="3" data-onvalue="later"></script>
      <script>function later(value) { note(value); }</script>`;
    const tab = await show(stand.page({ key: 'tag', tag }));
    await asked('tag', 2);
    expect(stand.of('tag')[1]).toMatchObject({ hold: '3', since: '0' });
    await delay(tab, 'tag', 'heard');
  });
});

describe('isolation', () => {
  const nonce = 'nonce="r4nd0m"';
  const service = () => stand.service;
  const works: [string, () => Record<string, string>, string][] = [
    ['a nonce', () => ({ 'content-security-policy': "script-src 'nonce-r4nd0m'" }), nonce],
    [
      'strict-dynamic',
      () => ({ 'content-security-policy': "script-src 'nonce-r4nd0m' 'strict-dynamic'" }),
      nonce,
    ],
    ['a host list', () => ({ 'content-security-policy': `script-src 'unsafe-inline' ${service()}` }), ''],
    [
      'Trusted Types with the policy tagwait',
      () => ({ 'content-security-policy': "require-trusted-types-for 'script'; trusted-types tagwait" }),
      '',
    ],
    [
      'another policy list without enforcement',
      () => ({ 'content-security-policy': 'trusted-types other' }),
      '',
    ],
    [
      'COEP require-corp',
      () => ({ 'cross-origin-embedder-policy': 'require-corp', 'cross-origin-opener-policy': 'same-origin' }),
      '',
    ],
    ['a report-only policy', () => ({ 'content-security-policy-report-only': "script-src 'none'" }), ''],
  ];
  test.each(works)('works under %s', async (name, headers, attributes) => {
    const tab = await show(stand.page({ key: 'csp', headers: headers(), attributes }));
    await asked('csp');
    await delay(tab, 'csp', name);
    expect(await words(tab)).toEqual(['state waiting', name]);
  });

  test.each([
    [
      'script-src-elem',
      `script-src 'nonce-r4nd0m'`,
      `delete handlers.nonce`,
      'script-src-elem lacks http://127.0.0.1:',
    ],
    [
      'trusted-types',
      `require-trusted-types-for 'script'; trusted-types none`,
      '',
      'trusted-types lacks tagwait',
    ],
  ])('a policy that forbids it ends the watch with `blocked`: %s', async (_name, policy, _before, detail) => {
    // With `nonce: 'wrong'` the including script runs, and what it injects does not.
    const page = stand.page({
      key: 'blocked',
      options: `{ nonce: 'wrong' }`,
      headers: { 'content-security-policy': policy },
      attributes: nonce,
    });
    const tab = await show(page);
    await until(async () => expect((await words(tab)).at(-1)).toBe('end blocked'));
    const all = await words(tab);
    expect(all.at(-3)).toContain(`error blocked: CSP: ${detail}`);
    expect(all.at(-2)).toBe('state ended');
    expect(stand.of('blocked').length).toBe(0);
  });
});
