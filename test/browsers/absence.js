// How soon a page hears, once it is back, what was set while it was away: in Chromium, Firefox and WebKitGTK, with real
// tabs. The sockets of its polls have died unheard, as they do when a phone sleeps or changes its network.
import { until } from '../../bench/until.js';
import { startFirefox, startWebKit } from './drivers.js';
import { engines } from './engines.js';
import { startStand } from './stand.js';
import { startTabs } from './tabs.js';

const WAITS = { within: 60_000, every: 25 };
const hide = async (tab, { tabs }) => {
  const other = await tabs.open('about:blank');
  await other.show();
  await until(() => tab.evaluate('document.hidden'), 'a hidden tab', WAITS);
  return other;
};

/**
 * Each kind of absence: `leave` may return a tab to close in the end; `back` ends it. `network switched` is the
 * event alone; `slept` is a clock that has gone on, because a machine of tests does not sleep.
 */
const KINDS = {
  hidden: {
    leave: hide,
    async back(tab) {
      await tab.evaluate('ahead += 8000');
      await tab.show();
    },
  },
  frozen: {
    leave: async (tab, context) => {
      const other = await hide(tab, context);
      await tab.send('Page.setWebLifecycleState', { state: 'frozen' });
      return other;
    },
    back: async tab => {
      await tab.send('Page.setWebLifecycleState', { state: 'active' });
      await tab.show();
    },
  },
  // Chromium freezes hidden pages alone; `resume` comes before the page is shown, and here it is not shown
  resumed: {
    leave: tab => tab.send('Page.setWebLifecycleState', { state: 'frozen' }),
    back: tab => tab.send('Page.setWebLifecycleState', { state: 'active' }),
  },
  offline: {
    leave: async tab => {
      await tab.offline(true);
      await until(() => tab.evaluate('!navigator.onLine'), 'a page that has noticed', WAITS);
    },
    back: tab => tab.offline(false),
  },
  'network switched': { leave: () => {}, back: tab => tab.evaluate('dispatchEvent(new Event("online"))') },
  slept: { leave: () => {}, back: tab => tab.evaluate('ahead += 3600000') },
};
/** Each browser, and the kinds that it can be brought to: WebKitGTK shows its one tab for ever. */
const BROWSERS = {
  Chromium: { start: startTabs, kinds: Object.keys(KINDS) },
  'Firefox ESR': { start: startFirefox, kinds: ['hidden', 'offline', 'network switched', 'slept'] },
  WebKitGTK: { start: startWebKit, kinds: ['network switched', 'slept'] },
};
/** → [browser, kind][], of the browsers that are installed */
export const absences = Object.entries(BROWSERS).flatMap(([browser, { kinds }]) =>
  engines.find(({ name }) => name === browser).found() ? kinds.map(kind => [browser, kind]) : [],
);

/** A clock that can be put forward; what is noted has the real time. */
const before = `var ahead = 0, Real = Date;
Date = function () { return new Real(Real.now() + ahead); };
Date.now = Real.now;`;

/** → { measure(kind, options): ms from its return until it has heard, close() } */
export async function startAbsences(browser = 'Chromium') {
  const stand = await startStand();
  const tabs = await BROWSERS[browser].start();
  let count = 0;

  /** `fails`: the first request after the return does. */
  async function measure(kind, { fails } = {}) {
    const { leave, back } = KINDS[kind];
    const key = `away${count++}`;
    const tab = await tabs.open(stand.page({ key, before }));
    await tab.show();
    const heard = () => tab.evaluate('window.heard');
    const heardOf = what => async () => (await heard()).some(([one]) => one === what);
    try {
      // its first poll is short; the second is older than a moment
      await until(() => Date.now() - stand.of(key)[1]?.at > 600, 'a poll that is held', WAITS);
      stand.deafen(key);
      const other = (await leave(tab, { tabs })) ?? {};
      stand.set(key, 'meanwhile');
      const polls = stand.of(key).length;
      if (fails) stand.sicken('empty');
      const from = Date.now();
      await back(tab);
      if (fails) await until(() => stand.of(key).length > polls, 'the request that fails', WAITS);
      stand.sicken();
      await until(heardOf('meanwhile'), `what was set while it was away: ${kind}`, WAITS);
      await other.close?.();
      const all = await heard();
      if (all.some(([what, at]) => what === 'state offline' && at > from))
        throw new Error('it said `offline`');
      return all.find(([what]) => what === 'meanwhile')[1] - from;
    } finally {
      await tab.close();
    }
  }

  return {
    measure,
    async close() {
      await tabs.close();
      await stand.close();
    },
  };
}

const median = sorted => sorted[sorted.length >> 1];

/** Measures each kind some times, and prints a table. */
export async function printAbsences(times = 5) {
  console.log('\nHeard after an absence, in ms\n');
  console.log('| browser | absence | median | worst |\n| --- | --- | --- | --- |');
  for (const browser of new Set(absences.map(([name]) => name))) {
    const started = await startAbsences(browser);
    for (const [, kind] of absences.filter(([name]) => name === browser)) {
      const all = [];
      for (let i = 0; i < times; i++) all.push(await started.measure(kind));
      all.sort((one, other) => one - other);
      console.log(`| ${browser} | ${kind} | ${median(all)} | ${all.at(-1)} |`);
    }
    await started.close();
  }
}
