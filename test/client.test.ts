/** The page's script on a page made by hand: what it asks, what it tells, and what it does where a browser refuses it. */
import { describe, expect, test, vi } from 'vitest';
import { type Asked, type Channel, Page, script, type Values } from './browsers/virtual.js';

const TIMEOUT = { code: -1, message: 'timeout', cursor: 'e-1' };
const query = ({ src }: Asked) => Object.fromEntries(new URL(src).searchParams);

describe('what it asks', () => {
  test('every part of a poll, each number once, and the poll before it as a drop', () => {
    const page = new Page();
    page.watch('a key', { url: 'https://other.example/', proof: 'p', since: 'e-0' });
    page.watch('b', { url: 'https://other.example' });
    const [first, second] = page.polls as [Asked, Asked];
    const registry = query(first).callback?.split('.')[0];
    expect(registry).toMatch(/^tagwait_\d+$/);
    expect(query(first)).toEqual({
      callback: `${registry}.w0.p1`,
      key: 'a key',
      since: 'e-0',
      proof: 'p',
      hold: '1',
      poll: `${registry}1w0`,
    });
    expect(query(second)).toEqual({
      callback: `${registry}.w1.p1`,
      key: 'b',
      since: '',
      proof: '',
      hold: '1',
      poll: `${registry}1w1`,
    });
    for (const { src } of [first, second]) expect(src).toMatch(/^https:\/\/other\.example\/status\/get\?/);
    page.pass(1000);
    page.answer(TIMEOUT, first);
    expect(query(page.newest)).toMatchObject({ callback: `${registry}.w0.p2`, poll: `${registry}2w0` });
    expect(query(page.newest)).not.toHaveProperty('hold');
    page.pass(36_000);
    expect(page.drops[0]?.src).toBe(second.src.replace('&poll=', '&drop='));
  });

  test('each option is one parameter, whatever is in it', () => {
    const page = new Page();
    const odd = 'a&key=other#b%41=c';
    page.watch('k', { proof: odd, since: odd, hold: odd });
    const all = [...new URL(page.newest.src).searchParams];
    page.answer(TIMEOUT);
    page.pass(2000);
    for (const asked of [all, [...page.asked]]) {
      expect(asked.map(([name]) => name).sort()).toEqual([
        'callback',
        'hold',
        'key',
        'poll',
        'proof',
        'since',
      ]);
      expect(Object.fromEntries(asked)).toMatchObject({ key: 'k', proof: odd });
    }
    expect(Object.fromEntries(all).since).toBe(odd);
    expect(page.asked.get('hold')).toBe(odd);
  });

  test.each(['tagwait', 'many'] as const)(
    '%s: an option that a script has added to the prototype of all objects is none',
    name => {
      const page = new Page({}, {}, undefined, name);
      const added = ['url', 'nonce', 'since', 'hold', 'proof', 'signal', 'line', 'getAttribute'];
      page.run(`${JSON.stringify(added)}.forEach(name => { Object.prototype[name] = 'https://evil.example'; });
        ['onvalue', 'onstate', 'onerror', 'onend'].forEach(name => { Object.prototype[name] = () => { bad = 1; }; });
        tagwait.watch('a', { proof: 'p' }); tagwait.watch('b');`);
      page.pass(100);
      page.answer({ code: 0, data: 1, cursor: 'e-1', ...(name === 'many' && { key: 'a' }) });
      for (const { src, nonce } of [...page.polls, ...page.drops]) {
        expect(src).toMatch(/^https:\/\/status\.example\.com\/status\/get\?/);
        expect(src).not.toContain('evil');
        expect(nonce).toBeUndefined();
      }
      expect(page.polls.length).toBeGreaterThan(1);
      expect(page.window).not.toHaveProperty('bad');
    },
  );

  test.each(['tagwait', 'many'] as const)('%s: options may be an object of a class', name => {
    const page = new Page({}, {}, undefined, name);
    page.run(`class Options { get proof() { return 'p'; } onvalue(value) { window.got = value; } }
      tagwait.watch('k', new Options());`);
    page.pass(100);
    expect(page.asked.get('proof')).toBe('p');
    page.answer({ code: 0, data: 7, cursor: 'e-1' });
    expect(page.window.got).toBe(7);
  });

  test.each(['tagwait', 'many'] as const)(
    '%s: a tag whose key is empty or none is asked as it is, and refused; one without a key asks nothing',
    name => {
      for (const key of ['', 'a b&c']) {
        const page = new Page(
          { 'data-key': key, 'data-onend': 'over', 'data-proof': 'a&b' },
          {},
          undefined,
          name,
        );
        const ends: unknown[] = [];
        page.window.over = (reason: string) => ends.push(reason);
        page.pass(100);
        expect(page.polls).toHaveLength(1);
        expect(page.asked.getAll('key')).toEqual([key]);
        expect(page.asked.getAll('proof')).toEqual(['a&b']);
        page.answer({ code: -4, message: 'bad request', detail: 'key: …' });
        expect(ends).toEqual(['bad request']);
      }
      const silent = new Page({ 'data-proof': 'p' }, {}, undefined, name);
      silent.pass(10_000);
      expect(silent.polls).toEqual([]);
    },
  );

  test('another copy in the same page has another name for its functions', () => {
    const [one, other] = [new Page(), new Page()];
    other.random = 0.25;
    for (const page of [one, other]) page.watch('k');
    expect(one.asked.get('callback')).toBe('tagwait_500000000.w0.p1');
    // the name was drawn when the script ran
    expect(other.asked.get('callback')).toBe('tagwait_500000000.w0.p1');
    expect(new Page({}, { Math: { random: () => 0.75 } }).window).toHaveProperty('tagwait_750000000');
  });

  test('by a script that is the last child of the root, and is gone when it is answered', () => {
    const page = new Page({}, {}, undefined);
    page.watch('k', { nonce: 'n1' });
    const { newest } = page;
    expect(newest.attributes).toEqual({ name: 'script' });
    expect(newest.nonce).toBe('n1');
    expect([...page.attached]).toEqual([newest]);
    page.answer({ code: 0, data: 1, cursor: 'e-1' });
    expect([...page.attached]).toEqual([page.newest]);
    expect(page.newest).not.toBe(newest);
    expect(page.drops, 'what was answered is not dropped').toEqual([]);
  });

  test('with the nonce of its tag when none is given, in the namespace of the root', () => {
    const space = 'http://www.w3.org/1999/xhtml';
    const page = new Page({}, {}, space);
    page.tag.nonce = 'of the tag';
    page.watch('k');
    expect(page.newest.nonce).toBe('of the tag');
    expect(page.newest.attributes).toEqual({ space, name: 'script' });
  });

  test("through the document's prototype, when a form takes the place of its methods", () => {
    const page = new Page();
    const methods = { ...page.document };
    const other = new Page({}, { Document: { prototype: methods } });
    for (const name of ['createElement', 'getElementsByTagName']) other.document[name] = 'a form';
    other.watch('k');
    expect(page.polls, 'the root is that of the first page').toHaveLength(1);
    expect(page.newest.src).toContain('key=k');
  });

  test("through the document of an image, where a sandbox's own is a proxy", () => {
    const page = new Page();
    const other = new Page(
      {},
      {
        Document: { prototype: { ...page.document } },
        Image: class {
          ownerDocument = page.document;
        },
      },
    );
    for (const name of ['createElement', 'getElementsByTagName'])
      other.document[name] = () => {
        throw new TypeError('Illegal invocation');
      };
    other.watch('k');
    expect(page.polls).toHaveLength(1);
  });

  test.each([
    ['an element', {}],
    ['a text', 'north'],
    ['of zone.js in part', { current: {} }],
  ])('also where Zone is no zone: %s', (_, Zone) => {
    const page = new Page({}, { Zone });
    page.watch('k');
    page.answer({ code: 0, data: 1, cursor: 'e-1' });
    expect(page.reported).toContainEqual(['value', 1]);
    expect(page.polls).toHaveLength(2);
  });

  test.each([1, 20, 3600])(
    'when the clock was put back by %d s, between polls and while one is held',
    seconds => {
      const page = new Page();
      page.watch('k');
      const asks = (when: string) => {
        const before = page.polls.length;
        page.back(seconds);
        page.pass(2000);
        expect(page.polls.length, when).toBeGreaterThan(before);
      };
      page.newest.onerror();
      asks('after a failure');
      page.answer(TIMEOUT);
      page.pass(100);
      page.answer(TIMEOUT);
      asks('after an answer that came early');
      page.answer(TIMEOUT);
      page.pass(5000);
      asks('while a poll is held');
      page.answer({ code: 0, data: 1, cursor: 'e-2' });
      expect(page.reported).toEqual([
        ['state', 'waiting'],
        ['value', 1],
      ]);
    },
  );

  test('for a module, which has no `currentScript`, its own tag: not one after it that is watched', () => {
    const page = new Page({ 'data-key': 'module' });
    const list = page.document.getElementsByTagName as (name: string) => object[];
    const classic = {
      src: page.tag.src,
      isConnected: true,
      getAttribute: (name: string) => (name === 'data-key' ? 'classic' : null),
    };
    page.document.getElementsByTagName = (name: string) =>
      name === 'script' ? [page.tag, classic] : list(name);
    // both tags in the order in which a browser runs them: the classic one, then the module
    page.document.currentScript = classic;
    page.load();
    page.document.currentScript = null;
    (page.tag as { tagwait?: unknown }).tagwait = undefined;
    page.load();
    page.pass(300);
    const keys = page.polls.map(({ src }) => new URL(src).searchParams.get('key'));
    expect(keys.sort()).toEqual(['classic', 'module', 'module']);
  });

  test('before the page is loaded after 3 s, and at once when it is', () => {
    const page = new Page();
    page.document.readyState = 'loading';
    page.watch('k');
    page.pass(2700);
    expect(page.polls).toEqual([]);
    page.pass(600);
    expect(page.polls).toHaveLength(1);
    const loaded = new Page();
    loaded.document.readyState = 'interactive';
    loaded.watch('k');
    expect(loaded.polls).toEqual([]);
    loaded.document.readyState = 'complete';
    loaded.pass(300);
    expect(loaded.polls).toHaveLength(1);
  });

  test("also where another site's frame named readyState has taken its place, which throws when it is made a text", () => {
    const page = new Page();
    const frame = new Proxy(
      {},
      {
        get() {
          throw new DOMException('cross-origin', 'SecurityError');
        },
      },
    );
    Object.assign(page.document, { readyState: frame });
    page.watch('k');
    page.pass(3300);
    expect(page.polls).toHaveLength(1);
  });
});

describe('what it tells', () => {
  test('each value with its cursor, what was lost before it, and whether it is the last', async () => {
    const page = new Page();
    const heard: unknown[] = [];
    const { ended } = page.watch('k', {
      since: 'e-0',
      onvalue: (value: unknown, info: object) => heard.push([value, info]),
    });
    page.answer({ code: 0, data: 3, earlier: [1, 2], lost: 4, cursor: 'e-3', final: true });
    expect(JSON.parse(JSON.stringify(heard))).toEqual([
      [1, { cursor: 'e-0', lost: 4, final: false }],
      [2, { cursor: 'e-0', lost: 0, final: false }],
      [3, { cursor: 'e-3', lost: 0, final: true }],
    ]);
    expect(await ended).toBe('final');
    expect(page.polls).toHaveLength(1);
  });

  test('nothing more once a handler has stopped it', () => {
    const page = new Page();
    const heard: unknown[] = [];
    const watching = page.watch('k', {
      onvalue: (value: unknown) => {
        heard.push(value);
        watching.stop();
      },
    });
    page.answer({ code: 0, data: 3, earlier: [1, 2], cursor: 'e-3' });
    expect(heard).toEqual([1]);
    page.pass(60_000);
    expect(page.polls).toHaveLength(1);
  });

  test('a value once: not the cursor that it has, and not what an old poll says of another place', () => {
    const page = new Page();
    page.watch('k', { since: 'e-1' });
    const old = page.newest;
    page.answer({ code: 0, data: 'known', cursor: 'e-1' });
    expect(page.reported).toEqual([['state', 'waiting']]);
    page.pass(1500);
    page.answer({ code: 0, data: 'new', cursor: 'e-2' });
    page.answer({ code: 0, data: 'late', cursor: 'e-3' }, old);
    expect(page.reported.filter(([name]) => name === 'value')).toEqual([['value', 'new']]);
    expect(page.asked.get('since')).toBe('e-2');
  });

  test('a handler that throws ends nothing: its error is thrown from a timer', () => {
    const page = new Page();
    page.watch('k', {
      onvalue: () => {
        throw new Error('of the page');
      },
    });
    page.answer({ code: 0, data: 1, cursor: 'e-1' });
    expect(page.asked.get('since')).toBe('e-1');
    expect(() => page.pass(1)).toThrow('of the page');
  });

  test('a value that is a list, as one value, also among earlier ones', () => {
    const page = new Page();
    page.watch('k');
    page.answer({ code: 0, data: [1, [2]], earlier: [[], [3, 4]], cursor: 'e-3' });
    expect(page.reported.filter(([what]) => what === 'value')).toEqual([
      ['value', []],
      ['value', [3, 4]],
      ['value', [1, [2]]],
    ]);
  });

  test("the functions that a tag's attributes name, as they are when they are called", () => {
    const page = new Page({ 'data-key': 'k', 'data-onvalue': 'later' });
    page.pass(100);
    const later = vi.fn();
    page.window.later = later;
    page.answer({ code: 0, data: 1, cursor: 'e-1' });
    expect(later.mock.calls[0]?.[0]).toBe(1);
  });

  test('the second failure in a row: offline, and when it asks again', () => {
    const page = new Page();
    const errors: Values[] = [];
    page.watch('k', { onerror: (error: Values) => errors.push({ ...error }) });
    page.newest.onerror();
    expect(errors).toEqual([]);
    page.pass(2000);
    page.newest.onload();
    expect(errors).toEqual([{ code: 'failed', message: 'offline', retry: 1000 }]);
    expect(page.reported).toEqual([
      ['state', 'waiting'],
      ['state', 'offline'],
    ]);
    page.pass(3000);
    page.answer(TIMEOUT);
    expect(page.reported.at(-1)).toEqual(['state', 'waiting']);
  });

  test('a poll that is neither answered nor ended: given up 10 s after its hold, and dropped', () => {
    const page = new Page();
    page.watch('k', { hold: 7 });
    page.pass(1000);
    page.answer(TIMEOUT);
    const { newest } = page;
    page.pass(16_700);
    expect(page.polls).toHaveLength(2);
    page.pass(600);
    expect(page.drops.map(({ src }) => src)).toEqual([newest.src.replace('&poll=', '&drop=')]);
    page.pass(1500);
    expect(page.polls).toHaveLength(3);
    // the events of the one that was given up mean nothing
    newest.onerror();
    expect(page.polls).toHaveLength(3);
  });

  test('the answer to a drop is no news: a page that is offline stays so', () => {
    const page = new Page();
    page.watch('k');
    page.newest.onerror();
    // the second one is given up
    for (let waited = 0; page.drops.length === 0 && waited < 20_000; waited += 250) page.pass(250);
    expect([page.drops.length, page.polls.length]).toEqual([1, 2]);
    expect(page.reported.at(-1)).toEqual(['state', 'offline']);
    page.answer(TIMEOUT);
    expect(page.reported.at(-1)).toEqual(['state', 'offline']);
  });

  test('what an old poll is refused with counts for nothing while a newer one is held', () => {
    const page = new Page();
    page.watch('k');
    const old = page.newest;
    page.pass(1000);
    page.happens('focus');
    for (const code of [-3, -5]) page.answer({ code, message: 'late', retry: 1000 }, old);
    page.answer(TIMEOUT, old);
    expect(page.reported).toEqual([['state', 'waiting']]);
    expect([...page.attached]).toEqual([page.newest]);
    expect(page.polls).toHaveLength(2);
  });

  test('busy and unavailable: with the time to ask again; moved: nothing', () => {
    for (const [answer, reported] of [
      [{ code: -3, message: 'busy', retry: 2000 }, 1],
      [{ code: -7, message: 'unavailable', retry: 2000 }, 1],
      [{ code: -6, message: 'moved', retry: 2000 }, 0],
    ] as [Values, number][]) {
      const page = new Page();
      const errors: Values[] = [];
      page.watch('k', { onerror: (error: Values) => errors.push({ ...error }) });
      page.answer(answer);
      expect(errors).toEqual(reported ? [{ ...answer, retry: 2500 }] : []);
      expect(page.reported.at(-1)).toEqual(['state', reported ? 'busy' : 'waiting']);
      page.pass(2300);
      expect(page.polls).toHaveLength(1);
      page.pass(500);
      expect(page.polls).toHaveLength(2);
    }
  });

  test('a refusal: the answer, and then the end; a login that expired is no error', () => {
    for (const [answer, reported] of [
      [{ code: -5, message: 'forbidden' }, true],
      [{ code: -4, message: 'bad request', detail: 'key: …' }, true],
      [{ code: -2, message: 'expired' }, false],
    ] as [Values, boolean][]) {
      const page = new Page();
      const errors: unknown[] = [];
      page.watch('k', { onerror: (error: unknown) => errors.push(error) });
      page.answer(answer);
      expect(errors).toEqual(reported ? [answer] : []);
      expect(page.reported.slice(-2)).toEqual([
        ['state', 'ended'],
        ['end', answer.message],
      ]);
    }
  });

  test('an end once, also without Promise', () => {
    const page = new Page({}, { Promise: undefined });
    const watching = page.watch('k');
    expect(watching).not.toHaveProperty('ended');
    page.answer({ code: -2, message: 'expired' });
    watching.stop();
    page.pass(60_000);
    // its functions are gone, and with them what hears of events
    page.happens('focus');
    expect(page.reported.filter(([name]) => name === 'end')).toHaveLength(1);
    expect(page.polls).toHaveLength(1);
  });
});

/** @returns a page that has learned that a proxy cuts polls after 5 s */
function behindProxy(): Page {
  const page = new Page();
  page.watch('k');
  page.pass(1000);
  page.answer({ code: 0, data: 1, cursor: 'e-1' });
  for (let cut = 0; cut < 2; cut++) {
    page.pass(5000);
    page.newest.onerror();
    page.pass(3000);
    page.answer(TIMEOUT);
  }
  expect(page.asked.get('hold')).toBe('4');
  return page;
}

describe('when it asks again', () => {
  test('straight from an answer, but after a time-out that came at once a second later', () => {
    const page = new Page();
    page.watch('k');
    page.answer(TIMEOUT);
    page.pass(900);
    expect(page.polls).toHaveLength(1);
    page.pass(400);
    expect(page.polls).toHaveLength(2);
    page.pass(600);
    page.answer(TIMEOUT);
    expect(page.polls).toHaveLength(3);
  });

  test('at an event: not a moment after it asked, not while it is hidden, not before the service said', () => {
    const page = new Page();
    page.watch('k');
    page.pass(300);
    page.happens('focus');
    expect(page.polls).toHaveLength(1);
    page.pass(400);
    page.document.hidden = true;
    page.happens('visibilitychange');
    expect(page.polls).toHaveLength(1);
    page.document.hidden = false;
    page.answer({ code: -3, message: 'busy', retry: 20_000 });
    page.pass(5000);
    page.happens('online');
    expect(page.polls).toHaveLength(1);
    page.pass(16_000);
    page.newest.onerror();
    page.happens('online');
    expect(page.polls).toHaveLength(3);
  });

  test('all watches of a page hear an event, and what a page adds to Object.prototype is none', () => {
    const page = new Page();
    page.watch('a');
    page.watch('b');
    page.run('Object.prototype.added = function () {};');
    page.pass(1000);
    page.happens('focus');
    expect(page.polls.map(poll => query(poll).key).toSorted()).toEqual(['a', 'a', 'b', 'b']);
  });

  test("an end after a proxy's limit was learned is an end", () => {
    const page = behindProxy();
    page.answer({ code: -2, message: 'expired' });
    expect(page.reported.at(-1)).toEqual(['end', 'expired']);
  });

  test("a bad request after a proxy's limit was learned: once more with the service's own hold", () => {
    const page = behindProxy();
    page.answer({ code: -4, message: 'bad request' });
    expect(page.reported.some(([name]) => name === 'end')).toBe(false);
    page.pass(2000);
    page.answer({ ...TIMEOUT, cursor: 'e-1' });
    page.pass(2000);
    page.answer({ code: -4, message: 'bad request' });
    expect(page.reported.at(-1)).toEqual(['end', 'bad request']);
  });
});

describe('beside other tabs', () => {
  /** What another tab's channel says. */
  const say = (page: Page, data: number) => page.channels[0]?.onmessage?.({ data });
  const ages = (page: Page) => page.channels[0]?.sent as number[];

  test('tells its age when it asks, and each younger tab that is older', () => {
    const page = new Page();
    page.watch('k');
    expect(page.channels.map(({ name }) => name)).toEqual(['tagwait']);
    const [age = 0] = ages(page);
    expect(age).toBe(1_000_000.5);
    say(page, age + 1);
    say(page, age - 1);
    expect(ages(page)).toEqual([age, -(age + 1)]);
  });

  test('with three older ones it holds for a second, and naps between its polls while it is hidden', () => {
    const page = new Page();
    page.watch('k');
    const [age = 0] = ages(page);
    const older = (tabs: number) => {
      for (let tab = 0; tab < tabs; tab++) say(page, -age);
    };
    page.pass(1000);
    older(2);
    page.answer(TIMEOUT);
    expect(page.asked.get('hold'), 'two older ones leave a place').toBe(null);
    older(3);
    page.pass(1000);
    page.answer(TIMEOUT);
    expect(page.asked.get('hold')).toBe('1');
    older(3);
    page.document.hidden = true;
    page.pass(1000);
    const polls = page.polls.length;
    page.answer(TIMEOUT);
    page.pass(3700);
    expect(page.polls, 'it naps').toHaveLength(polls);
    older(3);
    page.pass(600);
    expect(page.polls, 'and then asks').toHaveLength(polls + 1);
    page.pass(1000);
    page.answer(TIMEOUT);
    expect(page.asked.get('hold'), 'nobody is older any more').toBe(null);
  });

  test('a browser without a channel: it asks as if it were alone', () => {
    const page = new Page({}, { BroadcastChannel: undefined });
    page.watch('k');
    page.pass(1000);
    page.answer(TIMEOUT);
    expect(page.asked.get('hold')).toBe(null);
  });
});

describe('refused by a policy of the page', () => {
  const violation = {
    blockedURI: 'https://status.example.com',
    effectiveDirective: 'script-src-elem',
    disposition: 'enforce',
  };
  const watched = () => {
    const page = new Page();
    const errors: Values[] = [];
    page.watch('k', { onerror: (error: Values) => errors.push(error) });
    return { page, errors };
  };

  /** On a page with a ReportingObserver. `reports` calls it. */
  function observed() {
    let reports: (list: object[]) => void = () => {};
    const trustedTypes = { createPolicy: (_: string, policy: object) => policy };
    class ReportingObserver {
      constructor(readonly heard: (list: object[]) => void) {}
      observe() {
        reports = this.heard;
      }
    }
    const page = new Page({}, { trustedTypes, ReportingObserver });
    const errors: unknown[] = [];
    page.watch('k', { onerror: (error: unknown) => errors.push(error) });
    return { page, errors, reports: (list: object[]) => reports(list) };
  }

  test('it ends, and says which directive lacks which address', () => {
    const { page, errors } = watched();
    page.happens('securitypolicyviolation', violation);
    expect(errors).toEqual([
      { code: 'blocked', message: 'CSP: script-src-elem lacks https://status.example.com' },
    ]);
    expect(page.reported.at(-1)).toEqual(['end', 'blocked']);
    page.pass(60_000);
    expect(page.polls).toHaveLength(1);
  });

  test.each([
    ['of another address', { ...violation, blockedURI: 'https://other.example' }],
    ['that is only reported', { ...violation, disposition: 'report' }],
    ['of another directive', { ...violation, effectiveDirective: 'img-src' }],
    ['of an address that ours is a part of', { ...violation, blockedURI: 'tps://status.example.com' }],
  ])('one %s is not its own', (_, event) => {
    const { page, errors } = watched();
    page.happens('securitypolicyviolation', event);
    page.pass(100);
    expect(errors).toEqual([]);
    expect(page.reported).toEqual([['state', 'waiting']]);
  });

  test('one while nothing is asked is not its own', () => {
    const { page, errors } = watched();
    page.answer({ code: -3, message: 'busy', retry: 5000 });
    errors.length = 0;
    page.happens('securitypolicyviolation', violation);
    expect(errors).toEqual([]);
  });

  test('Integrity-Policy, as a ReportingObserver says: it ends, and names the report', () => {
    const { page, errors, reports } = observed();
    const { src } = page.newest;
    const body = { blockedURL: src, destination: 'script', reportOnly: false };
    const type = 'integrity-violation';
    for (const other of [
      { type, body: { ...body, reportOnly: true } },
      { type, body: { ...body, blockedURL: 'https://other.example/app.js' } },
      { type: 'csp-violation', body: { blockedURL: src, disposition: 'report' } },
      { type: 'deprecation', body: { id: 'x', message: 'y' } },
    ])
      reports([other]);
    page.pass(100);
    expect([errors, page.polls.length]).toEqual([[], 1]);
    reports([{ type, body }]);
    expect(errors).toEqual([{ code: 'blocked', message: 'integrity-violation' }]);
    expect(page.reported.at(-1)).toEqual(['end', 'blocked']);
    page.pass(60_000);
    expect(page.polls).toHaveLength(1);
  });

  test('Trusted Types: its policy makes the address; where it may not be made, it ends when a text is refused', () => {
    const made: unknown[] = [];
    const page = new Page(
      {},
      {
        trustedTypes: {
          createPolicy: (name: string, { createScriptURL }: { createScriptURL(url: string): string }) => {
            made.push(name);
            return { createScriptURL: (url: string) => `${createScriptURL(url)}&trusted` };
          },
        },
      },
    );
    page.watch('k');
    expect(made).toEqual(['tagwait']);
    expect(page.newest.src).toMatch(/&trusted$/);

    const refusing = new Page(
      {},
      {
        trustedTypes: {
          createPolicy: () => {
            throw new TypeError('not listed');
          },
        },
      },
    );
    const errors: Values[] = [];
    refusing.document.createElement = () => ({
      setAttribute: () => {},
      set src(_: string) {
        throw new TypeError('no text');
      },
    });
    refusing.watch('k', { onerror: (error: Values) => errors.push(error) });
    expect(errors).toEqual([
      { code: 'blocked', message: 'CSP: trusted-types lacks tagwait? TypeError: no text' },
    ]);
    expect(refusing.reported.at(-1)).toEqual(['end', 'blocked']);
  });
});

describe('inside of a framework', () => {
  test('Angular: handlers run in the zone of the page, timers in none', () => {
    const wrapped: string[] = [];
    const zone = (name: string) => ({
      wrap: (run: (...given: unknown[]) => unknown) =>
        function (this: unknown, ...given: unknown[]) {
          wrapped.push(name);
          return run.apply(this, given);
        },
    });
    const page = new Page({}, { Zone: { current: zone('current'), root: zone('root') } });
    page.watch('k');
    expect(wrapped).toEqual(['root', 'current']);
  });

  test("a sandbox's window: the page's real one has the functions too", () => {
    const page = new Page();
    page.watch('k');
    const registry = page.asked.get('callback')?.split('.')[0] as string;
    expect(page.real[registry]).toBe(page.window[registry]);
    expect(page.window[registry]).toBeTypeOf('object');
  });

  test('in a strict script, where timers run with no `this`: a clock of tests does so', () => {
    const page = new Page();
    const { setTimeout } = page.window as { setTimeout(run: () => void, ms?: number): object };
    page.window.setTimeout = (run: () => void, ms?: number) => setTimeout(() => run(), ms);
    page.run(`'use strict';${script}`);
    page.watch('k', { url: 'https://status.example.com' });
    expect(page.polls).toHaveLength(1);
    page.answer({ code: 0, data: 1, cursor: 'e-1' });
    expect(page.reported).toContainEqual(['value', 1]);
  });

  test('a browser that has no addEventListener', () => {
    const page = new Page({}, { addEventListener: undefined });
    page.watch('k');
    expect(page.polls).toHaveLength(1);
  });
});

test('a channel that was closed is opened again after the page is back', () => {
  const page = new Page();
  page.watch('k');
  page.happens('pagehide', { persisted: true });
  expect((page.channels[0] as Channel).closed).toBe(true);
  page.pass(1000);
  page.happens('pageshow', { persisted: true });
  expect(page.channels.map(({ closed }) => closed)).toEqual([true, false]);
});
