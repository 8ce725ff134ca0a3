/** Limits per key, address and node, and the refusals in every form. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs, { existsSync, readdirSync } from 'node:fs';
import http, { get } from 'node:http';
import { syncBuiltinESMExports } from 'node:module';
import { getHeapStatistics, setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { fdBudget, Limits } from '../src/limits.js';
import { network } from '../src/network.js';
import type { Route } from '../src/wire/exchange.js';
import { CLI, held, poll, type Reply, service, set, spawned, stopClock, until } from './harness.js';
import { raw, request } from './raw.js';
import { scrape } from './scrape.js';

/** A poll from an address of this machine, or through proxies. */
async function ask(
  publicUrl: string,
  query: Record<string, string>,
  { from = '127.0.0.1', forwarded = undefined as string | string[] | undefined } = {},
): Promise<{ status: number; reply: Reply; text: string }> {
  const asked = get(`${publicUrl}/status/get?${new URLSearchParams(query)}`, {
    localAddress: from,
    agent: false,
    headers: forwarded === undefined ? {} : { 'X-Forwarded-For': forwarded },
  });
  onTestFinished(() => void asked.destroy());
  asked.on('error', () => {});
  const [response] = (await once(asked, 'response')) as [http.IncomingMessage];
  let text = '';
  for await (const part of response.setEncoding('utf8')) text += part;
  const object = /\{.*\}/s.exec(text)?.[0] ?? 'null';
  return { status: response.statusCode as number, reply: JSON.parse(object), text };
}

/** Holds polls, and says how to let them go. */
function holdOn(publicUrl: string, keys: string[]): () => void {
  const leave = new AbortController();
  for (const key of keys) poll(publicUrl, { key }, leave.signal).catch(() => {});
  onTestFinished(() => leave.abort());
  return () => leave.abort();
}

const heldInAll = (internalUrl: string, count: number) =>
  until(async () => {
    const { nodes } = (await (await fetch(`${internalUrl}/nodes`)).json()) as { nodes: [{ held: number }] };
    return nodes[0].held === count;
  });

const busy = { code: -3, message: 'busy', retry: expect.any(Number) };

describe('held', () => {
  test('per key: the page after the last is busy, in its own language, until one leaves', async () => {
    const { publicUrl, internalUrl } = await service({ maxHeldPerKey: 2 });
    const leave = holdOn(publicUrl, ['k', 'k']);
    await held(internalUrl, 'k', 2);
    const from = '127.0.0.2';
    const json = await ask(publicUrl, { key: 'k' }, { from });
    expect([json.status, json.reply]).toEqual([429, busy]);
    const script = await ask(publicUrl, { key: 'k', callback: 'cb' }, { from });
    expect([script.status, script.reply]).toEqual([200, busy]);
    expect(script.text).toMatch(/^\/\*\*\/typeof cb=="function"&&cb\(\{/);
    expect(await poll(publicUrl, { key: 'other', hold: '0.1' })).toMatchObject({ code: -1 });
    leave();
    await held(internalUrl, 'k', 0);
    expect(await poll(publicUrl, { key: 'k', hold: '0.1' })).toMatchObject({ code: -1 });
  });

  test('per address: other addresses are not affected, and a request that leaves makes room, a hundred times', async () => {
    const { publicUrl, internalUrl } = await service({ maxHeldPerIp: 2 });
    for (let round = 0; round < 100; round++) {
      const leave = holdOn(publicUrl, [`a${round}`, `b${round}`]);
      await heldInAll(internalUrl, 2);
      if (round === 0) {
        expect((await ask(publicUrl, { key: 'c' })).reply).toEqual(busy);
        const other = await ask(publicUrl, { key: 'c', hold: '0.1' }, { from: '127.0.0.2' });
        expect(other.reply).toMatchObject({ code: -1 });
      }
      leave();
      await heldInAll(internalUrl, 0);
    }
    expect(await poll(publicUrl, { key: 'c', hold: '0.1' })).toMatchObject({ code: -1 });
  });

  test.each([
    ['the fast path', []],
    ["Node's HTTP", ['Referer: a', 'Referer: b']],
  ])(
    'per address: room comes back once for each poll that ends, on a connection of %s',
    async (_, headers) => {
      const { publicUrl, internalUrl } = await service({ maxHeldPerIp: 3 });
      const from = '127.0.0.7';
      const pages = ['a', 'b', 'c'].map(key =>
        raw(publicUrl, request(`/status/get?key=${key}`, headers), from),
      );
      await heldInAll(internalUrl, 3);
      // one is answered and its connection stays, one is answered and leaves, another leaves while it is held
      for (const key of ['a', 'b']) await set(internalUrl, { key, value: 1 });
      await until(() => pages.slice(0, 2).every(({ text }) => text.includes('"code":0')));
      for (const page of pages.slice(1)) page.socket.destroy();
      await heldInAll(internalUrl, 0);
      const more = ['d', 'e', 'f'].map(key =>
        raw(publicUrl, request(`/status/get?key=${key}`, headers), from),
      );
      await heldInAll(internalUrl, 3);
      pages[0]?.socket.destroy();
      const isFull = async () => {
        const last = raw(publicUrl, request('/status/get?key=last', headers), from);
        await until(() => last.text.includes('"code":-3'));
        last.socket.destroy();
      };
      await isFull();
      expect(more.map(({ text }) => text)).toEqual(['', '', '']);
      // one of three leaves: there is room for one
      more[0]?.socket.destroy();
      await heldInAll(internalUrl, 2);
      raw(publicUrl, request('/status/get?key=g', headers), from);
      await heldInAll(internalUrl, 3);
      await isFull();
    },
  );

  test('per address: room comes back with every kind of answer', async () => {
    const { publicUrl, internalUrl } = await service({ maxHeldPerIp: 1 });
    for (let round = 0; round < 3; round++) {
      const asked = poll(publicUrl, { key: `k${round}` });
      await held(internalUrl, `k${round}`, 1);
      await set(internalUrl, { key: `k${round}`, value: 1 });
      expect(await asked).toMatchObject({ code: 0 });
      expect(await poll(publicUrl, { key: 'none', hold: '0.05' })).toMatchObject({ code: -1 });
    }
  });

  test('per node: polls without a hold are still answered, and so are health and sets', async () => {
    const { publicUrl, internalUrl } = await service({ maxHeld: 2 });
    holdOn(publicUrl, ['a', 'b']);
    await heldInAll(internalUrl, 2);
    const refused = await fetch(`${publicUrl}/status/get?key=c`);
    expect(await refused.json()).toEqual(busy);
    expect(refused.headers.get('connection'), 'its descriptor is wanted by others').toBe('close');
    expect(await poll(publicUrl, { key: 'c', hold: '0' })).toMatchObject({ code: -1 });
    expect((await fetch(`${publicUrl}/healthz`)).status).toBe(200);
    expect((await set(internalUrl, { key: 'c', value: 1 })).status).toBe(200);
  });

  test('retries are spread, so that the refused do not come back as one', async () => {
    const { publicUrl, internalUrl } = await service({ maxHeld: 1 });
    holdOn(publicUrl, ['a']);
    await heldInAll(internalUrl, 1);
    const retries = await Promise.all(
      Array.from({ length: 50 }, async () => (await ask(publicUrl, { key: 'b' })).reply.retry as number),
    );
    expect(new Set(retries).size).toBeGreaterThan(40);
    expect(Math.min(...retries)).toBeGreaterThanOrEqual(1000);
    expect(Math.max(...retries)).toBeLessThanOrEqual(5000);
  });

  test('0 switches each of them off', async () => {
    const { publicUrl, internalUrl } = await service({
      maxHeld: 0,
      maxHeldPerKey: 0,
      maxHeldPerIp: 0,
      maxPollsPerIp: 0,
    });
    holdOn(publicUrl, Array(300).fill('k'));
    await held(internalUrl, 'k', 300);
  });
});

test('each limit that is reached is named, and room comes back once for each that leaves', () => {
  const reached: string[] = [];
  const options = { maxHeld: 4, maxHeldPerKey: 3, maxHeldPerIp: 2, maxPollsPerIp: 1, trustProxy: 0 };
  const limits = new Limits(options, undefined, limit => reached.push(limit));
  const hold = (held: number, heldForKey: number) => limits.hold('192.0.2.1', held, heldForKey) === 0;
  expect([hold(4, 0), hold(3, 3), hold(0, 0), hold(1, 0), hold(2, 0)]).toEqual([
    false,
    false,
    true,
    true,
    false,
  ]);
  expect(reached.splice(0)).toEqual(['held', 'held_per_key', 'held_per_ip']);
  limits.release('192.0.2.1');
  expect([hold(1, 0), hold(2, 0)]).toEqual([true, false]);
  expect(reached.splice(0)).toEqual(['held_per_ip']);
  expect([limits.request('192.0.2.1') > 0, limits.request('192.0.2.1') > 0]).toEqual([false, true]);
  expect(reached.splice(0)).toEqual(['polls_per_ip']);
  const connections = Array.from({ length: 5 }, () => limits.connect('192.0.2.1'));
  expect(connections).toEqual([true, true, true, true, false]);
  expect(reached).toEqual(['connections_per_ip']);
});

test('without limits nothing is refused or counted as reached', () => {
  const reached: string[] = [];
  const off = { maxHeld: 0, maxHeldPerKey: 0, maxHeldPerIp: 0, maxPollsPerIp: 0, trustProxy: 0 };
  const limits = new Limits(off, undefined, limit => reached.push(limit));
  for (let count = 0; count < 100; count++) {
    expect([limits.request('a'), limits.hold('a', count, count), limits.connect('a')]).toEqual([0, 0, true]);
  }
  expect(reached).toEqual([]);
});

test('the retry delay of a refused poll is spread over the time that all of them need', () => {
  vi.useFakeTimers({ toFake: ['performance'] });
  const random = vi.spyOn(Math, 'random');
  onTestFinished(() => {
    vi.useRealTimers();
    random.mockRestore();
  });
  const limits = new Limits({ maxHeldPerKey: 0, maxHeldPerIp: 0, maxPollsPerIp: 5, trustProxy: 0 });
  for (let poll = 0; poll < 9; poll++) limits.request('a');
  vi.advanceTimersByTime(400);
  // 600 ms until the window ends, and 10 polls need 2 s at 5 per second
  random.mockReturnValue(0);
  expect(limits.request('a')).toBe(600);
  for (let poll = 10; poll < 19; poll++) limits.request('a');
  random.mockReturnValue(0.5);
  expect(limits.request('a')).toBe(600 + 2000);
  vi.advanceTimersByTime(600);
  expect(limits.request('a'), 'in the next window').toBe(0);
});

test('the peak is the largest number of connections since it was read', () => {
  const limits = new Limits({ maxHeldPerKey: 0, maxHeldPerIp: 0, maxPollsPerIp: 0, trustProxy: 0 });
  for (const address of ['a', 'b', 'c']) limits.connect(address);
  for (const address of ['a', 'b']) limits.disconnect(address);
  limits.connect('a');
  expect(limits.peak()).toEqual({ now: 2, peak: 3 });
  expect(limits.peak()).toEqual({ now: 2, peak: 2 });
});

test('behind a proxy that adds no header the address of the connection counts', () => {
  const limits = new Limits({ maxHeldPerKey: 0, maxHeldPerIp: 0, maxPollsPerIp: 0, trustProxy: 1 });
  expect(limits.networkOf('192.0.2.1', undefined)).toBe('192.0.2.1');
  expect(limits.networkOf('192.0.2.1', '198.51.100.7')).toBe('198.51.100.7');
});

test('addresses that have left take no memory', () => {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const used = () => {
    collect();
    return getHeapStatistics().used_heap_size;
  };
  const limits = new Limits({ maxHeldPerKey: 0, maxHeldPerIp: 9, maxPollsPerIp: 0, trustProxy: 0 });
  const before = used();
  for (let count = 0; count < 50_000; count++) {
    const address = `192.0.2.${count}`;
    limits.connect(address);
    limits.hold(address, 0, 0);
    limits.release(address);
    limits.disconnect(address);
  }
  // 10 MB if they stayed
  expect(used() - before, 'bytes').toBeLessThan(2_000_000);
});

test('behind a proxy all sockets are its own: they are not limited', () => {
  const options = { maxHeldPerKey: 0, maxHeldPerIp: 2, maxPollsPerIp: 0, trustProxy: 1 };
  const limits = new Limits(options);
  for (let socket = 0; socket < 1000; socket++) expect(limits.connect('192.0.2.1')).toBe(true);
  expect(limits.connections).toBe(1000);
});

describe('polls a second', () => {
  test('polls up to the limit are answered, further ones get a retry delay, and are answered after it', async () => {
    stopClock();
    const { publicUrl } = await service({ maxPollsPerIp: 5 });
    const all = await Promise.all(Array.from({ length: 20 }, () => ask(publicUrl, { key: 'k', hold: '0' })));
    const refused = all.filter(({ reply }) => reply.code === -3);
    expect(refused.length).toBe(15);
    for (const { reply, status } of refused) {
      expect([status, reply]).toEqual([429, busy]);
      expect(reply.retry).toBeLessThanOrEqual(1000 + (20 / 5) * 1000);
    }
    const other = await ask(publicUrl, { key: 'k', hold: '0' }, { from: '127.0.0.2' });
    expect(other.reply).toMatchObject({ code: -1 });
    vi.advanceTimersByTime(1000);
    expect((await ask(publicUrl, { key: 'k', hold: '0' })).reply.code).toBe(-1);
  });

  test('wrong proofs and bad parameters count too', async () => {
    stopClock();
    const { publicUrl } = await service({ maxPollsPerIp: 2, secret: ['s'.repeat(32)] });
    await ask(publicUrl, { key: '' });
    await ask(publicUrl, { key: 'k', proof: 'wrong' });
    expect((await ask(publicUrl, { key: 'k', proof: 'wrong' })).reply).toEqual(busy);
  });
});

describe('whose address it is', () => {
  /** Whether two polls count as one address's. */
  async function same(trustProxy: number, one: string | string[], two: string | string[]): Promise<boolean> {
    stopClock();
    const { publicUrl } = await service({ trustProxy, maxPollsPerIp: 1 });
    await ask(publicUrl, { key: 'k', hold: '0' }, { forwarded: one });
    return (await ask(publicUrl, { key: 'k', hold: '0' }, { forwarded: two })).reply.code === -3;
  }

  test.each<[string, number, string | string[], string | string[], boolean]>([
    ['without proxies the header is not believed', 0, '192.0.2.1', '192.0.2.2', true],
    ['one proxy: what it saw', 1, '192.0.2.1', '192.0.2.2', false],
    [
      'one proxy: what a page wrote in front does not help it',
      1,
      '192.0.2.8, 192.0.2.1',
      '192.0.2.9,192.0.2.1',
      true,
    ],
    ['nor does a second header', 1, ['192.0.2.8', '192.0.2.1'], ['192.0.2.9', '192.0.2.1'], true],
    ['two proxies: what the outer one saw', 2, '192.0.2.1, 198.51.100.1', '192.0.2.2, 198.51.100.1', false],
    [
      'two proxies: not what the inner one saw',
      2,
      '192.0.2.1, 198.51.100.1',
      '192.0.2.1, 198.51.100.2',
      true,
    ],
    ['two proxies: nor what a page wrote', 2, 'x,192.0.2.1,198.51.100.1', 'y,192.0.2.1,198.51.100.1', true],
    ['fewer entries than proxies: the first', 3, '192.0.2.1, 198.51.100.1', '192.0.2.2, 198.51.100.1', false],
    ['what is no address counts as the proxy itself', 1, 'unknown', '_hidden', true],
    ['nor do numbers that only look like one', 1, '192.0.2.999', '0x7f000001', true],
    ['an empty entry', 1, '192.0.2.1,', ',', true],
    ['with its port', 1, '192.0.2.1:50000', '192.0.2.1:50001', true],
    ['an IPv6 /64 is one', 1, '2001:db8:1:2::1', '2001:db8:1:2:ffff:ffff:ffff:ffff', true],
    ['the next /64 is another', 1, '2001:db8:1:2::1', '2001:db8:1:3::1', false],
    ['IPv6 with its port', 1, '[2001:db8::1]:50000', '2001:db8::2', true],
    ['IPv4 in IPv6 is IPv4', 1, '::ffff:192.0.2.1', '192.0.2.1', true],
    ['and not one /64 for all', 1, '::ffff:192.0.2.1', '::ffff:192.0.2.2', false],
  ])('%s', async (_, proxies, one, two, expected) => {
    expect(await same(proxies, one, two)).toBe(expected);
  });

  test.each([
    ['192.0.2.1', '192.0.2.1'],
    ['::ffff:192.0.2.1', '192.0.2.1'],
    ['::ffff:c000:201', '192.0.2.1'],
    ['64:ff9b::192.0.2.1', '192.0.2.1'],
    ['::1', '0:0:0:0::/64'],
    ['2001:DB8:0:0:1::1', '2001:db8:0:0::/64'],
    ['fe80::1%lo', 'fe80:0:0:0::/64'],
    ['', ''],
  ])('%s counts as %s', (address, counted) => {
    expect(network(address)).toBe(counted);
  });
});

describe('descriptors', () => {
  test.each([1, 64, 128, 256, 1024, 20_000, 1_048_576, undefined])(
    '%s open files are never used up',
    files => {
      const { connections, held: most, internal } = fdBudget(files, 2 ** 31);
      expect(connections + internal + 25).toBeLessThanOrEqual(
        Math.max(files ?? Number.POSITIVE_INFINITY, 29),
      );
      expect(most).toBeLessThan(connections);
      expect(internal).toBeGreaterThan(0);
      expect(connections * 16 * 1024).toBeLessThanOrEqual(2 ** 31);
    },
  );

  /** @param limits text of /proc/self/limits; undefined: there is no such file @param report what Node.js reports */
  function openFiles(limits: string | undefined, report: object | undefined): number | undefined {
    const read = vi.spyOn(fs, 'readFileSync').mockImplementation(path => {
      if (limits === undefined || path !== '/proc/self/limits') throw new Error('ENOENT');
      return limits;
    });
    const reported = vi.spyOn(process.report as NodeJS.ProcessReport, 'getReport');
    reported.mockReturnValue(report as never);
    syncBuiltinESMExports();
    try {
      return fdBudget().openFiles;
    } finally {
      read.mockRestore();
      reported.mockRestore();
      syncBuiltinESMExports();
    }
  }

  const file = (soft: string) =>
    `Limit                     Soft Limit           Hard Limit           Units
Max processes             63426                63426                processes
Max open files            ${soft.padEnd(20)} 524288               files
`;
  const reported = (soft: unknown) => ({ userLimits: { open_files: { soft } } });
  test.each<[string, string | undefined, object | undefined, number | undefined]>([
    ['the soft limit', file('1024'), reported(7), 1024],
    ['unlimited', file('unlimited'), reported(7), undefined],
    ['a file without the line', 'Max processes 1 1 processes', reported(7), undefined],
    ['no such file: what Node.js reports', undefined, reported(4096), 4096],
    ['no such file, unlimited', undefined, reported('unlimited'), undefined],
    ['no such file, and a report without limits', undefined, {}, undefined],
    ['no such file, and a report without this one', undefined, { userLimits: {} }, undefined],
    ['no such file, and no report', undefined, undefined, undefined],
  ])('the limit of open files is read: %s', (_, limits, report, found) => {
    expect(openFiles(limits, report)).toBe(found);
  });

  test('1024 open files', () => {
    expect(fdBudget(1024, 2 ** 31)).toEqual({ openFiles: 1024, connections: 854, held: 811, internal: 122 });
  });

  test('more sockets from one address than it may hold polls twice over are closed', async () => {
    const { publicUrl, internalUrl } = await service({ maxHeldPerIp: 5 });
    const sockets = Array.from({ length: 20 }, () => raw(publicUrl, '', '127.0.0.3'));
    let closed = 0;
    for (const { ended } of sockets) void ended.then(() => closed++);
    await until(() => closed === 10);
    expect(await poll(publicUrl, { key: 'k', hold: '0' })).toMatchObject({ code: -1 });
    expect(await (await fetch(`${internalUrl}/metrics`)).text()).toMatch(
      /tagwait_connections_cut_total\{reason="address"\} 10/,
    );
    for (const { socket } of sockets) socket.destroy();
    await until(async () => {
      const again = raw(publicUrl, request('/status/get?key=k&hold=0'), '127.0.0.3');
      await Promise.race([again.ended, until(() => again.text)]).catch(() => {});
      return again.text.includes('"code":-1');
    });
  });

  // the limit is set as an operator would, and what is open is read where Linux shows it
  test.runIf(existsSync('/proc/self/fd'))(
    'with all of them wanted by others it goes on: health, sets and busy; then they are free again',
    async () => {
      const command = `ulimit -n 200 && exec "${process.execPath}" "${CLI}"`;
      const child = spawn('/bin/sh', ['-c', command], {
        env: { PATH: process.env.PATH, TAGWAIT_PUBLIC_PORT: '0', TAGWAIT_INTERNAL_PORT: '0' },
      });
      onTestFinished(() => void child.kill('SIGKILL'));
      let stdout = '';
      let stderr = '';
      child.stdout.on('data', text => (stdout += text));
      child.stderr.on('data', text => (stderr += text));
      const [publicUrl, internalUrl] = (await until(
        () => stdout.includes('internal') && stdout.match(/http:\S+/g),
      )) as [string, string];
      const ready = JSON.parse(await until(() => /^.*"ready".*$/m.exec(stderr)?.[0]));
      expect(ready).toMatchObject({ openFiles: 200, connections: 133, maxHeld: 126 });
      const open = () => readdirSync(`/proc/${child.pid}/fd`).length;
      const agent = new http.Agent({ keepAlive: false });
      onTestFinished(() => agent.destroy());
      const atRest = open();

      const pages = Array.from({ length: 126 }, (_, page) =>
        raw(publicUrl, request(`/status/get?key=k${page}`), '127.0.0.4'),
      );
      await heldInAll(internalUrl, 126);
      const one = await ask(publicUrl, { key: 'one-more' });
      expect(one.reply).toEqual(busy);
      const crowd = Array.from({ length: 300 }, () => raw(publicUrl, '', '127.0.0.5'));
      await until(async () =>
        /cut_total\{reason="full"\} [1-9]/.test(await (await fetch(`${internalUrl}/metrics`)).text()),
      );
      expect(open()).toBeLessThan(200);
      expect((await fetch(`${internalUrl}/healthz`)).status).toBe(200);
      expect((await set(internalUrl, { key: 'k0', value: 'heard' })).body.watched).toBe(true);
      await until(() => pages[0]?.text.includes('"data":"heard"'));
      for (const { socket } of [...pages, ...crowd]) socket.destroy();
      await heldInAll(internalUrl, 0);
      await until(() => open() <= atRest + 3);
      expect(await poll(publicUrl, { key: 'k', hold: '0' })).toMatchObject({ code: -1 });
      expect(stderr).not.toMatch(/EMFILE|"level":[56]0/);
    },
  );

  test('memory is released after a peak of connections, without further requests', async () => {
    const { publicUrl, internalUrl } = await spawned({
      TAGWAIT_MAX_HELD_PER_IP: '0',
      TAGWAIT_MAX_POLLS_PER_IP: '0',
      TAGWAIT_HOLD: '120',
    });
    const heap = async () => (await scrape(internalUrl)).get('nodejs_heap_size_used_bytes') ?? Number.NaN;
    const atRest = await heap();
    const pages: ReturnType<typeof raw>[] = [];
    // no more at a time than the kernel keeps for a server that is slow to take them
    while (pages.length < 4000) {
      for (let page = 0; page < 200; page++)
        pages.push(raw(publicUrl, request(`/status/get?key=k${pages.length}`), '127.0.0.6'));
      await heldInAll(internalUrl, pages.length);
    }
    const crowded = await heap();
    for (const { socket } of pages) socket.destroy();
    // what V8 collects by itself, as it is asked for memory, is less
    await until(async () => (await heap()) < atRest + (crowded - atRest) / 4, {
      every: 1000,
    });
  });

  test.each([
    ['plain', request('/here')],
    ['plain, and of another route', request('/there')],
    ['not plain', request('/here', ['Referer: one', 'Referer: two'])],
  ])('a full server closes idle connections, and accepts new ones: %s', async (_, asked) => {
    const { publicPort } = await import('../src/wire/port.js');
    const { Limits } = await import('../src/limits.js');
    const { HeaderBlock } = await import('../src/wire/exchange.js');
    const limits = new Limits({ maxHeldPerKey: 0, maxHeldPerIp: 0, maxPollsPerIp: 0, trustProxy: 0 });
    const here: Route = {
      method: 'GET',
      path: '/here',
      handle: exchange => exchange.send(200, new HeaderBlock({}), 'here'),
    };
    const port = publicPort({
      route: here,
      others: (_, response) => response.end('here'),
      failed: () => {},
      onSlowPath: () => {},
      limits,
      connections: 20,
      hold: 25,
      onCut: () => {},
    });
    const url = await port.listen('127.0.0.1', 0);
    onTestFinished(() => {
      port.destroyAll();
      return port.close();
    });
    // each was answered, and stays connected in case it asks again; sixty follow each other, three times what fits
    for (let page = 0; page < 60; page++)
      await until(
        async () => {
          const connection = raw(url, asked);
          await Promise.race([connection.ended, until(() => connection.text)]);
          return connection.text.includes('here');
        },
        { every: 50 },
      );
  });
});

test('the embedded store refuses keys beyond its limit, and forgets none for them', async () => {
  const { publicUrl, internalUrl } = await service({ maxKeys: 2 });
  await set(internalUrl, { key: 'a', value: 1, ttl: 1 });
  await set(internalUrl, { key: 'b', value: 2 });
  const refused = await set(internalUrl, { key: 'c', value: 3 });
  expect([refused.status, refused.body]).toEqual([
    503,
    {
      code: 503,
      message: 'unavailable',
      detail: 'the embedded store keeps 2 keys at most (TAGWAIT_MAX_KEYS)',
    },
  ]);
  expect((await set(internalUrl, { key: 'b', value: 22 })).status).toBe(200);
  expect(await poll(publicUrl, { key: 'a', hold: '0' })).toMatchObject({ code: 0, data: 1 });
  expect(await poll(publicUrl, { key: 'b', hold: '0' })).toMatchObject({ code: 0, data: 22, earlier: [2] });
  expect(await poll(publicUrl, { key: 'c', hold: '0' })).toMatchObject({ code: -1 });
  await until(async () => (await set(internalUrl, { key: 'c', value: 3 })).status === 200, { every: 50 });
});
