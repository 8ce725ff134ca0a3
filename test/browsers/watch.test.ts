/** The page's script on a page made by hand, with a clock that the test moves: its loop, in milliseconds. */
import { describe, expect, test } from 'vitest';
import { type Channel, Page, type Watching } from './virtual.js';

const BUSY = { code: -3, message: 'busy', retry: 60_000 };

test('left for the back/forward cache while it waits to ask again: back, it asks at once', () => {
  const page = new Page();
  page.watch('k');
  page.answer(BUSY);
  page.happens('pagehide', { persisted: true });
  page.pass(120_000);
  expect(page.polls, 'nothing is asked while it is away').toHaveLength(1);
  page.happens('pageshow', { persisted: true });
  expect(page.polls).toHaveLength(2);
  page.answer({ code: 0, data: 1, cursor: 'e-1' });
  expect(page.polls).toHaveLength(3);
});

test('in a window without images it asks like anywhere', () => {
  const page = new Page({}, { Image: undefined });
  page.watch('k');
  expect(page.polls).toHaveLength(1);
});

test('left for the back/forward cache while a poll is held: back, it asks at once', () => {
  const page = new Page();
  page.watch('k');
  page.happens('pagehide', { persisted: true });
  page.pass(5000);
  page.happens('pageshow', { persisted: true });
  expect(page.polls).toHaveLength(2);
});

test('after a failure it holds for a second, until a poll is answered; then for as long as the service does', () => {
  const page = new Page();
  page.watch('k');
  page.pass(1000);
  page.answer({ code: 0, data: 1, cursor: 'e-1' });
  expect(page.asked.get('hold')).toBe(null);
  for (let failure = 0; failure < 3; failure++) {
    page.polls.at(-1)?.onerror();
    page.pass(10_000);
    expect(page.asked.get('hold')).toBe('1');
  }
  page.pass(1000);
  page.answer({ code: -1, message: 'timeout', cursor: 'e-1' });
  expect(page.asked.get('hold')).toBe(null);
  // and the next failure waits as briefly as the first did
  const polls = page.polls.length;
  page.polls.at(-1)?.onerror();
  page.pass(2000);
  expect(page.polls).toHaveLength(polls + 1);
});

test.each(['a#b', 'a%41', 'a&hold=0', 'a b', 'ä', ''])(
  'a key that is none, %j, is asked as it is, for the service to refuse it',
  key => {
    const page = new Page();
    const heard: unknown[] = [];
    page.watch(key, { onend: (reason: string) => heard.push(reason) });
    expect(new URL(page.newest.src).hash).toBe('');
    expect(page.asked.get('hold')).toBe('1');
    if (key !== 'ä') expect(page.asked.getAll('key')).toEqual([key]);
    page.answer({ code: -4, message: 'bad request' });
    expect(heard).toEqual(['bad request']);
  },
);

test('stop() closes the channel to the other tabs', () => {
  const page = new Page();
  const watching = page.watch('k');
  const [channel] = page.channels as [Channel];
  expect(channel.closed).toBe(false);
  watching.stop();
  expect(channel.closed).toBe(true);
  page.pass(120_000);
  expect([page.polls.length, page.channels.length]).toEqual([1, 1]);
});

test('nothing but the tag: each of its data-… is used', () => {
  const page = new Page({
    'data-key': 'k',
    'data-url': 'https://other.example/',
    'data-proof': '1900000000.proof',
    'data-since': 'e-7',
    'data-hold': '9',
  });
  page.pass(100);
  expect(page.polls[0]?.src).toMatch(/^https:\/\/other\.example\/status\/get\?/);
  const { callback: _, poll: __, ...asked } = Object.fromEntries(page.asked);
  expect(asked).toEqual({ key: 'k', proof: '1900000000.proof', since: 'e-7', hold: '1' });
  page.pass(1000);
  page.answer({ code: 0, data: 1, cursor: 'e-8' });
  expect(page.asked.get('hold')).toBe('9');
  expect(page.asked.get('proof')).toBe('1900000000.proof');
});

test('the functions of polls of long ago are forgotten', () => {
  const page = new Page();
  page.watch('k');
  for (let value = 1; value <= 100; value++) page.answer({ code: 0, data: value, cursor: `e-${value}` });
  expect(page.polls).toHaveLength(101);
  expect(page.callbacks).toBeLessThanOrEqual(10);
});

describe('back from anywhere', () => {
  const TIMEOUT = { code: -1, message: 'timeout', cursor: 'e-1' };

  test.each(['visibilitychange', 'focus', 'online', 'pageshow'])(
    '%s: it asks at once, and the old poll is dropped',
    type => {
      const page = new Page();
      page.watch('k');
      page.pass(1000);
      page.answer(TIMEOUT);
      const old = page.newest;
      page.pass(12_000);
      page.happens(type);
      expect(page.polls).toHaveLength(3);
      page.happens('focus');
      expect(page.polls, 'two events, one poll').toHaveLength(3);
      expect(page.drops.map(({ src }) => src)).toEqual([old.src.replace('&poll=', '&drop=')]);
      // what it says on its way counts
      page.answer({ code: 0, data: 'late', cursor: 'e-2' }, old);
      expect(page.reported).toContainEqual(['value', 'late']);
      expect(page.asked.get('since')).toBe('e-2');
    },
  );

  test.each([0, 0.999_999])(
    'a first request that fails is tried again within 1.5 s, and nothing is reported, at random %d',
    random => {
      const page = new Page();
      page.watch('k');
      page.answer(TIMEOUT);
      page.pass(8000);
      page.random = random;
      page.happens('visibilitychange');
      const { at } = page.newest;
      page.newest.onerror();
      page.pass(1500);
      expect(page.newest.at).toBeGreaterThan(at);
      expect(page.reported).toEqual([['state', 'waiting']]);
    },
  );

  test('resume: no longer frozen, it asks at once, though it is not shown yet', () => {
    const page = new Page();
    page.watch('k');
    page.document.hidden = true;
    page.pass(5000);
    page.happens('visibilitychange');
    expect(page.polls).toHaveLength(1);
    page.happensInside('resume');
    expect(page.polls).toHaveLength(2);
  });

  test('not before its first poll, which waits for the page', () => {
    const page = new Page();
    page.document.readyState = 'interactive';
    page.watch('k');
    page.pass(2000);
    page.happens('focus');
    page.happensInside('resume');
    expect(page.polls).toEqual([]);
  });

  test('the focus of a field is no return', () => {
    const page = new Page();
    page.watch('k');
    page.pass(5000);
    page.happensInside('focus');
    expect(page.polls).toHaveLength(1);
  });

  test('awake after a sleep of which nothing tells, it asks at once', () => {
    const page = new Page();
    page.watch('k');
    page.pass(1000);
    page.answer(TIMEOUT);
    page.now += 3_600_000;
    page.pass(300);
    expect(page.polls).toHaveLength(3);
  });
});

test('waits between 250 ms and 16 s, doubled, with up to a second of jitter', () => {
  for (const random of [0, 0.999_999]) {
    const page = new Page();
    page.random = random;
    page.watch('k');
    const waits: number[] = [];
    for (let failure = 0; failure < 9; failure++) {
      const { at } = page.newest;
      const polls = page.polls.length;
      page.newest.onerror();
      while (page.polls.length === polls) page.pass(50);
      waits.push(page.newest.at - at);
    }
    const wanted = [250, 500, 1000, 2000, 4000, 8000, 16_000, 16_000, 16_000].map(ms => ms + 1000 * random);
    // the script looks at the clock every 250 ms
    for (const [i, ms] of waits.entries())
      expect(Math.abs(ms - (wanted[i] as number) - 125)).toBeLessThan(200);
  }
});

describe('expired', () => {
  test('by its own clock, when nothing answers any more', async () => {
    const page = new Page();
    const watching = page.watch('k', { proof: '1900000000.proof' });
    page.answer({ code: -1, message: 'timeout', cursor: 'e-1', left: 90 });
    expect(watching.expires).toBe(page.now + 90_000);
    const end = page.now + 90_000;
    for (let asked = 0; page.now < end - 300; page.pass(100))
      if (page.polls.length > asked) page.polls[asked++]?.onerror();
    expect(page.reported.at(-1)).toEqual(['state', 'offline']);
    page.pass(1000);
    expect(page.reported.slice(-2)).toEqual([
      ['state', 'ended'],
      ['end', 'expired'],
    ]);
    expect(await watching.ended).toBe('expired');
  });

  test('not because the clock was put forward: the service is asked first', () => {
    const page = new Page();
    const watching = page.watch('k', { proof: '1900000000.proof' });
    page.pass(1000);
    page.answer({ code: -1, message: 'timeout', cursor: 'e-1', left: 90 });
    page.now += 7_200_000;
    page.pass(300);
    expect(page.polls).toHaveLength(3);
    page.answer({ code: -1, message: 'timeout', cursor: 'e-1', left: 88 });
    expect(watching.expires).toBe(page.now + 88_000);
    page.pass(10_000);
    expect(page.reported).toEqual([['state', 'waiting']]);
  });
});

describe('ended', () => {
  test.each([
    ['final', { code: 0, data: 1, cursor: 'e-1', final: true }],
    ['expired', { code: -2, message: 'expired' }],
    ['forbidden', { code: -5, message: 'forbidden' }],
    ['bad request', { code: -4, message: 'bad request', detail: 'key: …' }],
  ])('%s', async (reason, answer) => {
    const page = new Page();
    const watching = page.watch('k');
    page.answer(answer);
    expect(await watching.ended).toBe(reason);
    expect(page.reported.at(-1)).toEqual(['end', reason]);
    expect(page.drops, 'nothing is held any more').toEqual([]);
  });

  test('stopped: by stop(), and by a signal, also one that was aborted before; the poll is dropped', async () => {
    const controller = new AbortController();
    for (const stop of [
      (page: Page) => page.watch('k').stop(),
      (page: Page) => {
        page.watch('k', { signal: controller.signal });
        controller.abort();
      },
    ]) {
      const page = new Page();
      stop(page);
      page.answer({ code: 0, data: 1, cursor: 'e-1' });
      page.pass(60_000);
      expect(page.reported).toEqual([['state', 'waiting']]);
      expect([page.polls.length, page.drops.length]).toEqual([1, 1]);
    }
    const page = new Page();
    expect(await page.watch('k', { signal: controller.signal }).ended).toBe('stopped');
    expect(page.polls).toEqual([]);
  });

  test('stopped: the tag of a declared watch has left the document', () => {
    const page = new Page({ 'data-key': 'k' });
    page.pass(5000);
    expect(page.polls).toHaveLength(1);
    page.tag.isConnected = false;
    page.pass(2000);
    expect(page.drops).toHaveLength(1);
    page.pass(60_000);
    expect(page.polls).toHaveLength(1);
  });
});

describe('a final value whose set waits for a receipt', () => {
  const FINAL = { code: 0, data: 1, cursor: 'e-1', final: true, receipt: true };

  test('the page polls once more with its cursor, after the handlers ran, and does not drop that poll', () => {
    const page = new Page();
    let before = 0;
    page.watch('k', {
      onvalue: () => {
        before = page.polls.length;
      },
    });
    page.answer(FINAL);
    expect([before, page.polls.length]).toEqual([1, 2]);
    expect(page.asked.get('since')).toBe('e-1');
    page.answer({ code: -2, message: 'expired' });
    page.pass(120_000);
    expect([page.polls.length, page.drops.length]).toEqual([2, 0]);
    expect(page.reported).toEqual([
      ['state', 'waiting'],
      ['state', 'ended'],
      ['end', 'final'],
    ]);
    expect(page.channels.every(({ closed }) => closed)).toBe(true);
  });

  test('also when the handler stops the watch', () => {
    const page = new Page();
    const watching = page.watch('k', { proof: '1900000000.proof', onvalue: () => watching.stop() });
    page.pass(1000);
    page.answer(FINAL);
    expect([page.asked.get('since'), page.asked.get('proof')]).toEqual(['e-1', '1900000000.proof']);
    page.pass(120_000);
    expect([page.polls.length, page.drops.length]).toEqual([2, 0]);
    expect(page.channels.every(({ closed }) => closed)).toBe(true);
  });

  test.each<[string, Record<string, (watching: Watching) => void>]>([
    ['a value before it', { onvalue: (watching: Watching) => watching.stop() }],
    ['a state before it', { onstate: (watching: Watching) => watching.stop() }],
  ])('not when the watch is stopped at %s: its handler does not run', (_, stops) => {
    const page = new Page();
    const heard: unknown[] = [];
    const watching = page.watch('k', {
      onvalue: (value: unknown) => {
        heard.push(value);
        stops.onvalue?.(watching);
      },
      onstate: (state: string) => state === 'waiting' && page.polls.length > 2 && stops.onstate?.(watching),
    });
    page.newest.onerror();
    page.pass(2000);
    page.newest.onerror();
    page.pass(4000);
    const polls = page.polls.length;
    page.answer({ ...FINAL, data: 2, earlier: [1] });
    page.pass(120_000);
    expect(heard).toEqual(stops.onvalue ? [1] : []);
    expect(page.polls.length).toBe(polls);
  });

  test('without one, it does not', () => {
    const page = new Page();
    page.watch('k');
    page.answer({ ...FINAL, receipt: undefined });
    page.pass(120_000);
    expect(page.polls).toHaveLength(1);
  });
});

describe('behind a proxy that cuts every hold', () => {
  // as the proxy answers 504, and as it closes the connection: then the browser sends the poll again by itself, Chromium
  // once and Firefox nine times
  /** What a browser takes from an answer to the next poll, ms; cuts.js measures it. */
  const TURN = 20;
  test.each(
    [4, 5, 8, 10, 15, 20].flatMap(cut =>
      [1, 2, 10].flatMap(sent => [0, 0.999_999].map(random => [cut, sent, random] as const)),
    ),
  )(
    'at %d s, sent %d times, at random %d: from the third cut on without a poll at most 1 % of the time',
    (cut, sent, random) => {
      const page = new Page();
      page.random = random;
      page.watch('k');
      let cuts = 0;
      let from = 0;
      let deaf = 0;
      let holds: number[] = [];
      let learnedBy: number | undefined;
      while (page.now < from + 600_000 || cuts < 3) {
        const hold = Number(page.asked.get('hold') ?? 25);
        holds.push(hold);
        const polls = page.polls.length;
        if (hold < cut) {
          page.pass(hold * 1000);
          page.answer({ code: -1, message: 'timeout', cursor: 'e-1' });
          deaf += TURN;
          if (hold > 1) learnedBy ??= cuts;
          continue;
        }
        // or the page gives it up before
        for (const over = page.now + cut * sent * 1000; page.now < over && page.attached.size > 0; )
          page.pass(10);
        if (++cuts === 3) {
          from = page.now;
          deaf = 0;
          holds = [];
        }
        const since = page.now;
        if (page.attached.size > 0) page.newest.onerror();
        while (page.polls.length === polls) page.pass(10);
        deaf += page.now - since;
        if (cuts < 3 && page.polls.length > 300) break;
      }
      expect(deaf / 600_000).toBeLessThan(0.01);
      // what a browser sends once shows the limit itself, and no hold above it is tried
      if (sent === 1) expect(learnedBy).toBe(2);
      // never more than arrives, but for a try now and then
      expect(holds.filter(hold => hold >= cut).length).toBeLessThanOrEqual(3);
      expect(Math.max(...holds.filter(hold => hold < cut))).toBeGreaterThanOrEqual(2);
    },
  );
});
