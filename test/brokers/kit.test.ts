/** The parts that brokers are made of, each by itself, in virtual time. Together: docs/brokers.md, and examples.test.ts. */
import { getHeapStatistics, setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { Conflict, type Entry, RECEIPTS, Unavailable, WrongStore } from '../../src/brokers/broker.js';
import { brokerContract, HISTORY } from '../../src/brokers/contract/contract.js';
import * as kit from '../../src/brokers/kit/kit.js';
import { blocksOf } from '../blocks.js';

const { InOrder, KeyState, outdated, StoreBroker } = kit;
type KeyState = kit.KeyState;

function virtualTime() {
  vi.useFakeTimers();
  onTestFinished(() => void vi.useRealTimers());
  return (ms: number) => vi.advanceTimersByTimeAsync(ms);
}

describe('the state of a key', () => {
  const how = { history: 2, watched: true };
  const put = (state: KeyState, value: string, options: object = {}) =>
    state.set(value, { ttl: 1000, ...options }, how);
  const again = (state: KeyState) => new KeyState(Buffer.from(`${state}`));

  test('nothing is stored at first, whatever stands for nothing', () => {
    virtualTime();
    for (const state of [new KeyState(), new KeyState(''), new KeyState(null), new KeyState(Buffer.of())]) {
      expect(state.cursor).toBe('');
      expect(state.expires).toBe(0);
      expect(state.since('e-1')).toEqual({ entries: [], lost: 0, cursor: '', final: false });
      expect(state.peek()).toEqual({ entries: [], cursor: '', final: false, ttl: 0, waiters: {} });
    }
  });

  test('entries form a chain, and the newest are kept', () => {
    virtualTime();
    const state = new KeyState();
    const first = put(state, '"ä"');
    expect(first.receipt).toEqual({ cursor: expect.stringMatching(/^[a-z0-9]+-1$/), watched: true });
    expect(first.entry).toEqual({
      value: '"ä"',
      cursor: first.receipt.cursor,
      prev: '',
      final: false,
      at: Date.now(),
    });
    const second = put(again(state), '2').receipt.cursor;
    put(state, '2');
    put(state, '3', { final: true });
    expect(state.cursor).toBe(second.replace(/-2$/, '-3'));
    const kept = again(state).since(first.receipt.cursor);
    expect(kept).toMatchObject({ lost: 0, cursor: state.cursor, final: true });
    expect(kept.entries).toEqual([
      { value: '2', cursor: second, prev: first.receipt.cursor, final: false },
      { value: '3', cursor: state.cursor, prev: second, final: true },
    ]);
    expect(state.since('').lost).toBe(1);
    expect(state.since(`x-9.${second}`).entries).toHaveLength(1);
    expect(state.since(second.replace(/-2$/, '-99')).entries).toEqual([]);
    expect(state.peek({ a: 2, b: 0 })).toMatchObject({
      entries: [{ value: '2' }, { value: '3' }],
      final: true,
    });
    expect(state.peek({ a: 2, b: 0 }).waiters).toEqual({ a: 2 });
  });

  test('a refusal and a repeat change nothing', () => {
    virtualTime();
    const state = new KeyState();
    const { receipt } = put(state, '1', { id: 'one', expect: '' });
    const before = `${state}`;
    expect(put(state, '2', { id: 'one', expect: 'x-1' })).toEqual({
      receipt: { ...receipt, repeated: true },
    });
    expect(() => put(state, '2', { expect: '' })).toThrow(new Conflict('expect', receipt.cursor));
    expect(`${state}`).toBe(before);
    put(state, '2', { final: true, expect: receipt.cursor });
    expect(() => put(state, '3')).toThrow(new Conflict('final', state.cursor));
    expect(put(state, '3', { id: 'one' }).receipt.repeated).toBe(true);
  });

  test('the newest thousand ids are remembered', () => {
    virtualTime();
    const state = new KeyState();
    for (let number = 0; number <= RECEIPTS; number++) put(state, '1', { id: `${number}` });
    expect(put(state, '1', { id: '1' }).receipt.repeated).toBe(true);
    expect(put(state, '1', { id: '0' }).receipt.repeated).toBe(undefined);
  });

  test('the newest set says how long it lives; then it is nothing, and the next epoch is another', async () => {
    const pass = virtualTime();
    const state = new KeyState();
    const { cursor } = put(state, '1').receipt;
    await pass(999);
    expect(again(state).peek()).toMatchObject({ cursor, ttl: 1 });
    expect(state.expires).toBe(Date.now() + 1);
    await pass(1);
    const expired = again(state);
    expect(expired.cursor).toBe('');
    expect(put(expired, '1').receipt.cursor).not.toBe(cursor);
  });

  test('what is newer is delivered, and a gap when some of it is not kept', () => {
    virtualTime();
    const state = new KeyState();
    const { cursor } = put(state, '1').receipt;
    put(state, '2');
    const heard: string[] = [];
    const events = {
      entry: (key: string, { value }: Entry) => void heard.push(`${key} ${value}`),
      gap: (key?: string) => void heard.push(`gap ${key}`),
    };
    state.deliver(events, 'k', cursor);
    put(state, '3');
    put(state, '4');
    state.deliver(events, 'k', cursor);
    state.deliver(events, 'k', state.cursor);
    expect(heard).toEqual(['k 2', 'gap k', 'k 3', 'k 4']);
  });
});

test('operations of a key run in order, those of others beside them, and a failure stops none', async () => {
  const inOrder = new InOrder();
  const log: string[] = [];
  let release = () => {};
  const slow = inOrder.do('a', async () => {
    await new Promise<void>(resolve => {
      release = resolve;
    });
    log.push('first');
    throw new Error('failed');
  });
  const second = inOrder.do('a', () => log.push('second'));
  expect(await inOrder.do('b', () => 'other key')).toBe('other key');
  expect(log).toEqual([]);
  release();
  await expect(slow).rejects.toThrow('failed');
  expect(await second).toBe(2);
  expect(log).toEqual(['first', 'second']);
});

test('an operation waits for all of its key that were asked for before, also when the first has ended', async () => {
  const inOrder = new InOrder();
  const log: string[] = [];
  const releases: (() => void)[] = [];
  const slow = (name: string) =>
    inOrder.do('a', async () => {
      await new Promise<void>(resolve => releases.push(resolve));
      log.push(name);
    });
  const turn = () => new Promise(resolve => setImmediate(resolve));
  const [first, second] = [slow('first'), slow('second')];
  await turn();
  releases[0]?.();
  await first;
  await turn();
  const third = inOrder.do('a', () => log.push('third'));
  await turn();
  expect(log).toEqual(['first']);
  releases[1]?.();
  await Promise.all([second, third]);
  expect(log).toEqual(['first', 'second', 'third']);
});

test('a key whose operations have ended takes no memory', async () => {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const inOrder = new InOrder();
  const operate = async (from: number, count: number) => {
    for (let key = from; key < from + count; key++) await inOrder.do(`key ${key}`, () => {});
    collect();
    return getHeapStatistics().used_heap_size;
  };
  const before = await operate(0, 1000);
  const after = await operate(1000, 20_000);
  expect((after - before) / 20_000, 'bytes for each key').toBeLessThan(50);
});

test('the keys are outdated whose position is another, not known here, or not subscribed there', async () => {
  const known = [
    { key: 'same', position: 'e-1' },
    { key: 'empty', position: '' },
    { key: 'newer', position: 'e-1' },
    { key: 'unknown', position: undefined },
    { key: 'unsubscribed', position: undefined },
  ];
  const store: Record<string, string> = { same: 'e-1', empty: '', newer: 'e-2', unknown: '' };
  const changed = ['newer', 'unknown', 'unsubscribed'];
  expect(await outdated(known, key => store[key])).toEqual(changed);
  expect(await outdated(known, async key => store[key])).toEqual(changed);
});

/** A store that the test breaks. */
class Broker extends StoreBroker {
  /** how `connect`, `heartbeat` and `leave` behave: an error, or never for no answer */
  broken: Error | 'silent' | undefined;
  log: string[] = [];
  /** of the newest connection */
  signal: AbortSignal | undefined;
  constructor() {
    super({ name: 'Store', interval: 1000, timeout: 3000 });
  }
  #answer(what: string): Promise<void> {
    this.log.push(what);
    if (this.broken === 'silent') return new Promise(() => {});
    return this.broken ? Promise.reject(this.broken) : Promise.resolve();
  }
  connect(signal: AbortSignal) {
    this.signal = signal;
    signal.addEventListener('abort', () => this.log.push('dropped'));
    return this.#answer('connect');
  }
  heartbeat = () => this.#answer('heartbeat');
  leave = () => this.#answer('leave');
  breaks = (error: Error) => this.lost(error);
  calls = <T>(operation: Promise<T>) => this.call(operation);
  retries = this.retry;
}

async function started(broken?: Broker['broken']) {
  const pass = virtualTime();
  const broker = new Broker();
  broker.broken = broken;
  const gaps: unknown[] = [];
  const events = { entry() {}, gap: (key?: string) => void gaps.push(key), held: () => 0, drop() {} };
  const describe = () => ({ id: 'me', held: 0, version: '0', uptime: 0 });
  const start = broker.start({ ...events, describe });
  start.catch(() => {});
  await pass(0);
  return { broker, gaps, start, pass, log: () => broker.log.splice(0).join(' ') };
}

describe('a broker over a store', () => {
  test('is up when the store has answered, and sends heartbeats', async () => {
    const { broker, gaps, start, pass, log } = await started();
    await start;
    expect(broker.status()).toEqual({ up: true, cause: undefined, reconnects: 0 });
    expect([log(), gaps]).toEqual(['connect heartbeat', [undefined]]);
    await pass(2999);
    expect(log()).toBe('heartbeat heartbeat');
    await broker.close();
    await pass(10_000);
    expect(log()).toBe('leave dropped');
    expect(broker.signal?.reason).toEqual(new Error('the broker was closed'));
    expect(broker.status().up).toBe(false);
    expect(vi.getTimerCount()).toBe(0);
  });

  test('gives up a connection whose heartbeat fails, and connects again', async () => {
    const { broker, gaps, pass, log } = await started();
    broker.broken = new Error('away\nwith details');
    await pass(1000);
    expect(broker.status()).toEqual({ up: false, cause: 'Store: away', reconnects: 0 });
    expect(log()).toBe('connect heartbeat heartbeat dropped');
    broker.broken = undefined;
    await pass(500);
    expect(broker.status()).toEqual({ up: true, cause: undefined, reconnects: 1 });
    expect([log(), gaps]).toEqual(['connect heartbeat', [undefined, undefined]]);
    await broker.close();
  });

  test('gives up a store that does not answer', async () => {
    const { broker, pass, log } = await started();
    broker.broken = 'silent';
    await pass(1000 + 2999);
    expect(broker.status().up).toBe(true);
    await pass(1);
    expect(broker.status().cause).toBe('Store: no answer within 3000 ms');
    expect(log()).toBe('connect heartbeat heartbeat dropped');
    const closed = broker.close();
    await pass(499);
    expect(log()).toBe('leave');
    await pass(1);
    await closed;
    await pass(10_000);
    expect(log()).toBe('');
  });

  test('starts without its store, and tries again after longer and longer delays', async () => {
    vi.spyOn(Math, 'random').mockReturnValue(1);
    onTestFinished(() => void vi.restoreAllMocks());
    const { broker, start, pass, log } = await started(new Error('refused'));
    await start;
    expect(broker.status()).toEqual({ up: false, cause: 'Store: refused', reconnects: 0 });
    for (const delay of [500, 1000, 2000, 2000]) {
      expect(log()).toBe('connect dropped');
      await pass(delay - 1);
      expect(log()).toBe('');
      await pass(1);
    }
    broker.broken = undefined;
    await pass(2000);
    expect(broker.status()).toMatchObject({ up: true, reconnects: 1 });
    broker.breaks(new Error('cut'));
    broker.breaks(new Error('cut again'));
    expect(broker.status().cause).toBe('Store: cut');
    await pass(500);
    expect(broker.status()).toMatchObject({ up: true, reconnects: 2 });
    await broker.close();
  });

  test('that can never work says so at the start, and does not try again', async () => {
    const { broker, start, pass, log } = await started(new WrongStore('Store: no such database'));
    await expect(start).rejects.toThrow(WrongStore);
    expect(broker.status().cause).toBe('Store: no such database');
    await pass(10_000);
    expect(log()).toBe('connect dropped leave');
  });

  test('that is closed while it connects does not come up', async () => {
    const { broker, gaps, start, pass, log } = await started('silent');
    broker.broken = undefined;
    await broker.close();
    await start;
    await pass(10_000);
    expect([log(), gaps, broker.status().up]).toEqual(['connect leave dropped', [], false]);
    expect(vi.getTimerCount()).toBe(0);
  });

  test('that loses its store while it leaves stays closed', async () => {
    const { broker, gaps, pass, log } = await started();
    broker.broken = 'silent';
    const closed = broker.close();
    broker.breaks(new Error('cut'));
    broker.broken = undefined;
    await pass(10_000);
    await closed;
    expect([log(), gaps.length]).toEqual(['connect heartbeat leave dropped', 1]);
    expect(broker.status()).toEqual({ up: false, cause: undefined, reconnects: 0 });
    expect(vi.getTimerCount()).toBe(0);
  });

  test('an operation that fails, or is not answered, is Unavailable; a Conflict is itself', async () => {
    const { broker, pass } = await started();
    expect(await broker.calls(Promise.resolve(1))).toBe(1);
    const own = Object.assign(new Error(''), { code: 'ECONNREFUSED' });
    await expect(broker.calls(Promise.reject(own))).rejects.toMatchObject({
      name: 'Unavailable',
      message: 'Store: ECONNREFUSED',
      cause: own,
    });
    const conflict = new Conflict('final', '');
    await expect(broker.calls(Promise.reject(conflict))).rejects.toBe(conflict);
    const silent = broker.calls(new Promise(() => {}));
    silent.catch(() => {});
    await pass(3000);
    await expect(silent).rejects.toThrow('Store: no answer within 3000 ms');
    broker.breaks(new Unavailable('Store: the cause of that', { cause: new Error('the first cause') }));
    await expect(broker.calls(Promise.reject(own))).rejects.toThrow('Store: the first cause');
    await broker.close();
  });

  test('an operation is tried again while it may succeed, for as long as the time limit', async () => {
    const { broker, pass } = await started();
    let tries = 0;
    const stale = new Error('stale');
    const operation = async () => {
      if (++tries < 3) await broker.calls(Promise.reject(stale));
      return tries;
    };
    const again: unknown[] = [];
    expect(await broker.retries(operation, error => again.push(error) > 0)).toBe(3);
    expect(again).toEqual([stale, stale]);
    tries = 0;
    await expect(broker.retries(operation, async () => false)).rejects.toThrow('Store: stale');
    const never = broker.retries(
      () => broker.calls(new Promise<void>((_, fail) => setTimeout(() => fail(stale), 1600))),
      () => true,
    );
    never.catch(() => {});
    await pass(3200);
    await expect(never).rejects.toThrow('Store: stale');
    await broker.close();
  });
});

/** The store of docs/brokers.md, in this process. Every call takes a turn of the event loop. */
class Store {
  rows = new Map<string, { state?: string; watchers: Set<string> }>();
  listeners: [channel: string, receive: (text: string) => void][] = [];
  turn = () => new Promise<void>(resolve => setImmediate(resolve));

  async listen(channels: string[], receive: (text: string) => void, _: unknown, signal: AbortSignal) {
    const added = channels.map((channel): Store['listeners'][number] => [channel, receive]);
    this.listeners.push(...added);
    signal.addEventListener('abort', () => {
      this.listeners = this.listeners.filter(one => !added.includes(one));
    });
  }
  async publish(channel: string, text: string) {
    const receivers = this.listeners.filter(([name]) => name === channel);
    for (const [, receive] of receivers) setImmediate(receive, text);
    return receivers.length;
  }
  seen = () => this.turn();
  async leave(node: string) {
    for (const { watchers } of this.rows.values()) watchers.delete(node);
  }
  async locked<T>(key: string, work: (row: object) => T): Promise<T> {
    await this.turn();
    const row = this.row(key);
    this.rows.set(key, row);
    return work(row);
  }
  async read(key: string) {
    await this.turn();
    return this.row(key);
  }
  row = (key: string) => this.rows.get(key) ?? { watchers: new Set<string>() };
}

describe('the broker of docs/brokers.md keeps the promises of a broker', () => {
  const [text = ''] = blocksOf('docs/brokers.md').flatMap(({ text }) =>
    text.includes('extends') ? text : [],
  );
  const [, names = '', code = ''] =
    /^import \{ (.+) \} from 'tagwait\/broker-kit';\n\nexport ([\s\S]+)$/.exec(text) ?? [];
  const parts: Record<string, unknown> = { ...kit };
  const MyBroker = new Function(names, `return ${code}`)(...names.split(', ').map(name => parts[name]));
  test.each(brokerContract(2))('$name', async ({ run }) => {
    const store = new Store();
    await run(node => new MyBroker({ store, node, history: HISTORY }));
  });
});
