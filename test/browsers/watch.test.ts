/** The page's script on a page made by hand, with a clock that the test moves: its loop, in milliseconds. */
import { readFileSync } from 'node:fs';
import { createContext, runInContext } from 'node:vm';
import { expect, test } from 'vitest';

const built = readFileSync('dist/client/tagwait.js', 'utf8');
const ADDRESS = 'https://status.example.com/client.js';

interface Poll {
  src: string;
  onerror(): void;
}
interface Channel {
  sent: number[];
  closed: boolean;
}
type Values = Record<string, unknown>;

/** A page that includes the script by a tag with these attributes. */
class Page {
  readonly polls: Poll[] = [];
  readonly channels: Channel[] = [];
  #now = 1_000_000;
  #timers: { at: number; run: () => void }[] = [];
  readonly #listeners: [type: string, listener: (event: object) => void][] = [];
  readonly #window: Values;

  constructor(attributes: Record<string, string> = {}) {
    const page = this;
    const tag = { src: ADDRESS, getAttribute: (name: string) => attributes[name] ?? null };
    const head = { firstChild: null, insertBefore: (poll: Poll) => page.polls.push(poll) };
    const document = {
      readyState: 'complete',
      currentScript: tag,
      createElement: () => ({ setAttribute: () => {} }),
      getElementsByTagName: (name: string) => (name === 'head' ? [head] : [tag]),
    };
    const math = Object.create(Math);
    math.random = () => 0.5;
    this.#window = {
      document,
      Math: math,
      Date: class {
        valueOf = () => page.#now;
      },
      BroadcastChannel: class implements Channel {
        sent: number[] = [];
        closed = false;
        constructor() {
          page.channels.push(this);
        }
        postMessage(age: number) {
          this.sent.push(age);
        }
        close() {
          this.closed = true;
        }
      },
      addEventListener: (type: string, listener: (event: object) => void) =>
        page.#listeners.push([type, listener]),
      setTimeout: (run: () => void, ms: number) => {
        const timer = { at: page.#now + ms, run };
        page.#timers.push(timer);
        return timer;
      },
      clearTimeout: (timer: unknown) => {
        page.#timers = page.#timers.filter(one => one !== timer);
      },
    };
    this.#window.window = this.#window;
    createContext(this.#window);
    runInContext(built, this.#window, { filename: ADDRESS });
  }

  watch(key: string, options: Values = {}): { stop(): void } {
    const { watch } = this.#window.tagwait as { watch(key: string, options: Values): { stop(): void } };
    const watching = watch(key, options);
    this.pass(100);
    return watching;
  }

  pass(ms: number): void {
    const end = this.#now + ms;
    for (;;) {
      const [next] = this.#timers.filter(({ at }) => at <= end).sort((one, other) => one.at - other.at);
      if (!next) break;
      this.#timers = this.#timers.filter(timer => timer !== next);
      this.#now = next.at;
      next.run();
    }
    this.#now = end;
  }

  happens(type: string, more: object = {}): void {
    for (const [of, listener] of this.#listeners) if (of === type) listener({ type, ...more });
  }

  /** What the newest poll asks. */
  get asked(): URLSearchParams {
    return new URL(this.polls.at(-1)?.src as string).searchParams;
  }

  /** The answer to the newest poll. */
  answer(answer: Values): void {
    const [registry = '', watch = '', poll = ''] = this.asked.get('callback')?.split('.') ?? [];
    const calls = this.#window[registry] as Record<string, Record<string, (answer: Values) => void>>;
    calls[watch]?.[poll]?.(answer);
  }

  /** Of one watch, the functions that answers may call, and its own. */
  get callbacks(): number {
    const [registry = '', watch = ''] = this.asked.get('callback')?.split('.') ?? [];
    return Object.keys((this.#window[registry] as Record<string, object>)[watch] ?? {}).length;
  }
}

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

test('stop() closes the channel to the other tabs, and says goodbye there', () => {
  const page = new Page();
  const watching = page.watch('k');
  const [channel] = page.channels as [Channel];
  expect(channel.closed).toBe(false);
  watching.stop();
  expect(channel.closed).toBe(true);
  expect(channel.sent.at(-1)).toBe(-(channel.sent[0] as number));
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
  const { callback: _, ...asked } = Object.fromEntries(page.asked);
  expect(asked).toEqual({ key: 'k', proof: '1900000000.proof', since: 'e-7', hold: '1' });
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
