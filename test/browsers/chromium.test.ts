import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { client } from './service.js';
import { startStand } from './stand.js';
import { startTabs } from './tabs.js';

// What needs more than a page that reports by itself: real tabs, the back/forward cache, headers, a changed clock.
let stand: Awaited<ReturnType<typeof startStand>>;
let tabs: Awaited<ReturnType<typeof startTabs>>;
type Tab = Awaited<ReturnType<typeof tabs.open>>;

beforeAll(async () => {
  tabs = await startTabs();
  behind = behindProxy();
  behind.catch(() => {}); // its test says why
});
afterAll(() => tabs.close());

let open: Tab[] = [];
/** Started first: it takes 18 s of waiting, while the other tests run. */
let behind: ReturnType<typeof behindProxy>;
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

/** A page's clock that can be put forward; what is noted has the real time. */
const clock = `var ahead = 0, Real = Date;
Date = function () { return new Real(Real.now() + ahead); }; Date.now = Real.now;`;

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
    const tab = await show(stand.page({ key: 'slept', before: clock }));
    await asked('slept', 2);
    await into12s(tab, 'slept', ['focus', 'online']);
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

/** Puts the clock 12 s into a held poll, whose connection has died unheard; then come these events. */
async function into12s(tab: Tab, key: string, events: string[]): Promise<void> {
  stand.deafen(key);
  // two steps, neither of which looks like a sleep
  await tab.evaluate('ahead = 6000; new Promise(function (done) { setTimeout(done, 300); })');
  await tab.evaluate(
    `ahead = 12000; ${events.map(type => `dispatchEvent(new Event('${type}'))`).join('; ')}`,
  );
}

// docs/how-we-test.md has the table; `node test/browsers/old.js` runs these with the client of before, where they fail.
describe('what older clients failed at', () => {
  test.each(['focus', 'online'])(
    '%s, 12 s into a poll whose connection has died: it asks at once',
    async type => {
      const tab = await show(stand.page({ key: type, before: clock }));
      await asked(type, 2);
      await into12s(tab, type, [type]);
      expect(await delay(tab, type, 'heard')).toBeLessThan(SOON);
    },
  );

  test('the first request after waking fails: it asks again, and never says `offline`', async () => {
    const tab = await show(stand.page({ key: 'woken', before: clock }));
    await asked('woken', 2);
    stand.sicken('empty');
    await into12s(tab, 'woken', ['focus']);
    await until(() => expect(stand.of('woken').length).toBe(3), SOON);
    stand.sicken();
    expect(await delay(tab, 'woken', 'heard')).toBeLessThan(SOON);
    expect(await words(tab)).toEqual(['state waiting', 'heard']);
  });

  test('the ticket ends while there is no network: `expired` on time, though the clock is two hours off', async () => {
    const end = Date.now() + 2500;
    stand.ends('over', 2500);
    stand.set('over', 'one');
    const tab = await show(
      stand.page({ key: 'over', before: clock.replace('ahead = 0', 'ahead = 7200000') }),
    );
    await asked('over', 2);
    await tab.offline(true);
    await until(async () => expect((await words(tab)).at(-1)).toBe('end expired'), 10_000);
    const late = ((await heard(tab)).at(-1)?.[1] ?? 0) - end;
    expect(late).toBeGreaterThan(-50);
    expect(late).toBeLessThan(2000);
  });

  test('seven watches, each stopped for the next: none keeps one of the six connections', async () => {
    for (let i = 0; i < 7; i++) stand.set(`code${i}`, 'first'); // the second poll of each is held
    const began = Date.now();
    const tab = await show(stand.page({ key: 'code0' }));
    for (let i = 1; i < 7; i++) {
      await asked(`code${i - 1}`, 2);
      await tab.evaluate(`mine.stop(); mine = tagwait.watch('code${i}', handlers); 0`);
    }
    await asked('code6', 2);
    await until(() => expect(stand.held()).toBe(1));
    expect(Date.now() - began, 'a hold takes 25 s').toBeLessThan(15_000);
    expect(await delay(tab, 'code6', 'second')).toBeLessThan(SOON);
  });

  test('a module, which has no `currentScript`, beside another script whose name is `client`', async () => {
    stand.file('/gsi/client', '', { 'content-type': 'text/javascript' });
    const tag = `<script type="module" src="${stand.service}/client.js" data-key="module" data-onvalue="heardValue"></script>
      <script async src="/gsi/client"></script>`;
    const tab = await show(stand.page({ key: 'module', tag }));
    await until(() => expect(stand.of('module').length).toBeGreaterThan(0), 10_000);
    await delay(tab, 'module', 'heard');
    expect(await words(tab)).toEqual(['heard']);
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
    [
      'Integrity-Policy-Report-Only',
      () => ({ 'integrity-policy-report-only': 'blocked-destinations=(script)' }),
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

  test('Integrity-Policy, which wants a hash of every script: `blocked`, and the cause', async () => {
    const hash = createHash('sha384').update(readFileSync(client)).digest('base64');
    const page = stand.page({
      key: 'integrity',
      headers: { 'integrity-policy': 'blocked-destinations=(script)' },
      attributes: `crossorigin integrity="sha384-${hash}"`,
    });
    const tab = await show(page);
    await until(async () => expect((await words(tab)).at(-1)).toBe('end blocked'), 10_000);
    expect((await words(tab)).slice(1)).toEqual([
      'error blocked: integrity-violation',
      'state ended',
      'end blocked',
    ]);
    expect(stand.of('integrity')).toEqual([]);
  });

  test('Local Network Access: `offline`, and the page can ask whether it was refused', async () => {
    const tag = (key: string) => `<script>${readFileSync(client, 'utf8')}</script>
      <script>tagwait.watch('${key}', Object.assign(handlers, { url: '${stand.service}' }));</script>`;
    // what an address of the internet does to a page
    const headers = { 'content-security-policy': 'treat-as-public-address' };
    const tab = await show(stand.page({ key: 'public', tag: tag('public'), headers }));
    await until(async () => expect(await words(tab)).toContain('error failed: offline'), 10_000);
    expect(stand.of('public')).toEqual([]);
    const state = `navigator.permissions.query({ name: 'local-network-access' }).then(({ state }) => state)`;
    expect(await tab.evaluate(state)).toBe('denied');
    const local = await show(stand.page({ key: 'local', tag: tag('local') }));
    await asked('local');
    await delay(local, 'local', 'heard');
  });

  test('<base href> of another origin: a bundle asks that origin, a tag and `url` do not', async () => {
    const bundle = `<script>${readFileSync(client, 'utf8')}</script>`;
    const base = (href: string) => `<base href="${href}/">`;
    const watch = (key: string, url = '') =>
      `<script>tagwait.watch('${key}', Object.assign(handlers, ${url ? `{ url: '${url}' }` : '{}'}));</script>`;
    const nowhere = 'http://base.invalid';
    const tags = {
      bundle: base(stand.service) + bundle + watch('bundle'),
      url: base(nowhere) + bundle + watch('url', stand.service),
      tag: `${base(nowhere)}<script src="${stand.service}/client.js"></script>${watch('tag')}`,
    };
    for (const [key, tag] of Object.entries(tags)) {
      const tab = await show(stand.page({ key, tag }));
      await asked(key);
      await delay(tab, key, 'heard');
    }
  });
});

/** ms: four fifths of it, and of up to 3,700 on a busy machine, are a hold of 2 s. */
const LIMIT = 3000;

/** A page behind a proxy that answers 504 after LIMIT. @returns its polls, once three have ended in time one after the other */
async function behindProxy() {
  const proxied = await startStand();
  try {
    proxied.cut(LIMIT);
    const before = 'Math.random = function () { return 0; };';
    const tab = await tabs.open(proxied.page({ key: 'cut', before }));
    const inTime = () =>
      proxied.of('cut').filter(({ hold, over }, i, all) => over && hold === '2' && all[i - 1]?.hold === '2');
    await until(() => expect(inTime().length).toBeGreaterThanOrEqual(3), 40_000);
    await tab.close();
    return proxied.of('cut').filter(({ over }) => over);
  } finally {
    await proxied.close();
  }
}

test('a proxy that cuts every hold: after the third at most the page asks for less, and straight from the answer', async () => {
  const polls = await behind;
  expect(polls.filter(({ cut }) => cut).length).toBeLessThanOrEqual(3);
  // ms, the least of all because the machine may be busy; a timer of the script would take 125 on average
  const gaps = polls.flatMap(({ at }, i) =>
    polls[i - 1]?.hold === '2' ? [at - (polls[i - 1]?.over ?? 0)] : [],
  );
  expect(Math.min(...gaps)).toBeLessThan(100);
});
