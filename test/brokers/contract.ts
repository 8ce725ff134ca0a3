/** What every broker promises, run against each of them. */
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { type Broker, Conflict, type Entry, type Events } from '../../src/brokers/broker.js';
import { until } from '../harness.js';

export interface Bench {
  /** A broker of one node, not yet started. Those made in one test share their store. */
  create(history: number, node: string): Broker;
  /** as many nodes as there may be on one store */
  nodes: 1 | 2;
}

const TTL = 60_000;

interface Heard {
  broker: Broker;
  entries: [string, Entry][];
}

export function brokerContract(name: string, bench: Bench): void {
  describe(`${name} keeps the broker's promises`, () => {
    let key: string;
    beforeEach(() => {
      key = `k${Math.random().toString(36).slice(2)}`;
    });

    async function node(id = 'n1', history = 4): Promise<Heard> {
      const broker = bench.create(history, id);
      const entries: Heard['entries'] = [];
      const events: Events = {
        entry: (key, entry) => entries.push([key, entry]),
        gap: () => {},
        held: () => 1,
        describe: () => ({ id, held: 1, version: '0', uptime: 0 }),
      };
      await broker.start(events);
      onTestFinished(() => broker.close());
      return { broker, entries };
    }
    const values = (entries: Pick<Entry, 'value'>[]) => entries.map(entry => entry.value);

    test('a value set with nobody waiting is kept', async () => {
      const { broker, entries } = await node();
      const { cursor, watched } = await broker.set(key, '1', { ttl: TTL });
      expect(watched).toBe(false);
      expect(entries).toEqual([]);
      const backlog = await broker.subscribe(key, '');
      expect(backlog).toMatchObject({
        entries: [{ value: '1', cursor, prev: '', final: false }],
        lost: 0,
        cursor,
        final: false,
      });
    });

    test('nothing newer: the node is told from then on, each entry following the one before', async () => {
      const { broker, entries } = await node();
      expect(await broker.subscribe(key, '')).toMatchObject({
        entries: [],
        lost: 0,
        cursor: '',
        final: false,
      });
      const first = await broker.set(key, '1', { ttl: TTL });
      const second = await broker.set(key, '2', { ttl: TTL, final: true });
      expect(first.watched && second.watched).toBe(true);
      await until(() => entries.length === 2);
      const at = expect.closeTo(Date.now(), -4);
      expect(entries).toEqual([
        [key, { value: '1', cursor: first.cursor, prev: '', final: false, at }],
        [key, { value: '2', cursor: second.cursor, prev: first.cursor, final: true, at }],
      ]);
      const told = await broker.subscribe(key, second.cursor);
      expect(told).toMatchObject({ entries: [], lost: 0, cursor: second.cursor, final: true });
    });

    test('a cursor gets what is newer, and is told how much is no longer kept', async () => {
      const { broker } = await node('n1', 3);
      const cursors: string[] = [];
      for (const value of ['1', '2', '3', '4', '5'])
        cursors.push((await broker.set(key, value, { ttl: TTL })).cursor);
      const since = async (cursor: string) => {
        const { entries, lost } = await broker.subscribe(key, cursor);
        return [...values(entries), `lost ${lost}`];
      };
      expect(await since('')).toEqual(['3', '4', '5', 'lost 2']);
      expect(await since(cursors[0] as string)).toEqual(['3', '4', '5', 'lost 1']);
      expect(await since(cursors[1] as string)).toEqual(['3', '4', '5', 'lost 0']);
      expect(await since(cursors[3] as string)).toEqual(['5', 'lost 0']);
      expect(await since(cursors[4] as string)).toEqual(['lost 0']);
    });

    test('a cursor of another life, or made up, counts as none', async () => {
      const { broker } = await node();
      const old = await broker.set(key, '"old"', { ttl: 40 });
      await until(async () => (await broker.peek(key)).entries.length === 0);
      expect(await broker.subscribe(key, old.cursor)).toMatchObject({ entries: [], lost: 0, cursor: '' });
      const born = await broker.set(key, '"new"', { ttl: TTL });
      expect(born.cursor).not.toBe(old.cursor);
      for (const cursor of [old.cursor, 'x', '-', 'x-1', 'x-', '.-9', '__proto__', '0', '1', '1-1-1'])
        expect(values((await broker.subscribe(key, cursor)).entries), cursor).toEqual(['"new"']);
    });

    test('a number ahead of the newest has seen all that there is, and hears the next', async () => {
      const { broker, entries } = await node();
      const { cursor } = await broker.set(key, '1', { ttl: TTL });
      const ahead = cursor.replace(/\w+$/, '9');
      const backlog = await broker.subscribe(key, ahead);
      expect(backlog).toMatchObject({ entries: [], cursor });
      await broker.set(key, '2', { ttl: TTL });
      await until(() => entries.some(([, entry]) => entry.value === '2'));
    });

    test('a final entry ends the key: later sets conflict, with the present cursor', async () => {
      const { broker } = await node();
      const { cursor } = await broker.set(key, '1', { ttl: TTL, final: true });
      const refused = broker.set(key, '2', { ttl: TTL });
      await expect(refused).rejects.toBeInstanceOf(Conflict);
      await expect(refused).rejects.toMatchObject({ reason: 'final', cursor });
      expect(values((await broker.peek(key)).entries)).toEqual(['1']);
    });

    test('expect lets one of two sets through', async () => {
      const { broker } = await node();
      const both = await Promise.allSettled([
        broker.set(key, '"a"', { ttl: TTL, expect: '' }),
        broker.set(key, '"b"', { ttl: TTL, expect: '' }),
      ]);
      expect(both.map(one => one.status).sort()).toEqual(['fulfilled', 'rejected']);
      const { cursor, entries } = await broker.peek(key);
      expect(entries).toHaveLength(1);
      const late = broker.set(key, '"c"', { ttl: TTL, expect: 'x-1' });
      await expect(late).rejects.toMatchObject({ reason: 'expect', cursor });
      const next = await broker.set(key, '"d"', { ttl: TTL, expect: cursor });
      expect((await broker.peek(key)).cursor).toBe(next.cursor);
    });

    test('a repeat of an id stores nothing and is answered as the first was', async () => {
      const { broker } = await node();
      await broker.subscribe(key, '');
      const first = await broker.set(key, '1', { ttl: TTL, id: 'a', expect: '' });
      await broker.set(key, '2', { ttl: TTL, id: '__proto__', final: true });
      broker.unsubscribe(key);
      expect(await broker.set(key, '1', { ttl: TTL, id: 'a', expect: '' })).toEqual({
        ...first,
        repeated: true,
      });
      expect(values((await broker.peek(key)).entries)).toEqual(['1', '2']);
    });

    test('an id whose set was refused may be tried again', async () => {
      const { broker } = await node();
      await expect(broker.set(key, '1', { ttl: TTL, id: 'a', expect: 'x-1' })).rejects.toBeInstanceOf(
        Conflict,
      );
      await broker.set(key, '1', { ttl: TTL, id: 'a', expect: '' });
      expect(values((await broker.peek(key)).entries)).toEqual(['1']);
    });

    test('ttl counts from the last set, and keeps the key whole', async () => {
      const { broker } = await node();
      await broker.set(key, '1', { ttl: 200 });
      await broker.set(key, '2', { ttl: TTL });
      const { ttl, entries } = await broker.peek(key);
      expect(ttl).toBeGreaterThan(TTL - 5000);
      expect(ttl).toBeLessThanOrEqual(TTL);
      expect(entries).toHaveLength(2);
      await broker.set(key, '3', { ttl: 30 });
      await until(async () => (await broker.peek(key)).entries.length === 0);
      expect(await broker.peek(key)).toMatchObject({ entries: [], cursor: '', final: false, ttl: 0 });
    });

    test('a key that was given up is not watched', async () => {
      const { broker } = await node();
      await broker.subscribe(key, '');
      broker.unsubscribe(key);
      await until(async () => !(await broker.set(key, '1', { ttl: TTL })).watched);
    });

    test('odd but legal keys are keys like any other', async () => {
      const { broker } = await node();
      for (const odd of [
        '__proto__',
        'constructor',
        '.',
        '..',
        'a:b',
        '~',
        '-',
        'hasOwnProperty',
        'x'.repeat(128),
      ]) {
        await broker.subscribe(odd, '');
        await broker.set(odd, `"${odd.length}"`, { ttl: 500 });
        expect(values((await broker.peek(odd)).entries).at(-1)).toBe(`"${odd.length}"`);
      }
    });

    test('peek shows entries, their cursors and who waits', async () => {
      const { broker } = await node('here');
      await broker.subscribe(key, '');
      const { cursor } = await broker.set(key, '{"a":1}', { ttl: TTL });
      expect(await broker.peek(key)).toMatchObject({
        entries: [{ value: '{"a":1}', cursor }],
        cursor,
        final: false,
        waiters: { here: 1 },
      });
      expect((await broker.nodes()).map(one => one.id)).toContain('here');
    });

    test('many sets at once: every entry comes, in order, each after the one before', async () => {
      const { broker, entries } = await node('n1', 50);
      await broker.subscribe(key, '');
      await Promise.all(
        Array.from({ length: 40 }, (_, value) => broker.set(key, String(value), { ttl: TTL })),
      );
      await until(() => entries.length === 40);
      let before = '';
      for (const [, entry] of entries) {
        expect(entry.prev).toBe(before);
        before = entry.cursor;
      }
      expect(values((await broker.peek(key)).entries)).toEqual(values(entries.map(([, entry]) => entry)));
    });

    test('a set that meets a poll is either in its reply or told after it, never neither', async () => {
      const { broker, entries } = await node('n1');
      const setter = bench.nodes > 1 ? (await node('n2')).broker : broker;
      const keys = Array.from({ length: 300 }, (_, number) => `${key}-${number}`);
      const replies = await Promise.all(
        keys.map(async (one, number) => {
          const set = async () => {
            for (let turn = 0; turn < number % 4; turn++) await new Promise(resolve => setImmediate(resolve));
            await setter.set(one, '1', { ttl: TTL });
          };
          const [backlog] = await Promise.all([broker.subscribe(one, ''), set()]);
          return [one, backlog.entries.length] as const;
        }),
      );
      const told = () => new Set(entries.map(([one]) => one));
      await until(() => replies.every(([one, read]) => read === 1 || told().has(one)));
    });

    if (bench.nodes === 1) return;
    test('left and right: held on one node, set on the other, each entry once', async () => {
      const left = await node('left');
      const right = await node('right');
      await left.broker.subscribe(key, '');
      expect((await right.broker.set(key, '1', { ttl: TTL })).watched).toBe(true);
      await right.broker.subscribe(key, '');
      const { cursor } = await left.broker.set(key, '2', { ttl: TTL });
      await until(() => left.entries.length === 2 && right.entries.length >= 1);
      expect(values(left.entries.map(([, entry]) => entry))).toEqual(['1', '2']);
      expect((await right.broker.peek(key)).cursor).toBe(cursor);
      expect((await left.broker.peek(key)).waiters).toEqual({ left: 1, right: 1 });
      await until(
        async () =>
          (await right.broker.nodes())
            .map(one => one.id)
            .sort()
            .join() === 'left,right',
      );
    });
  });
}
