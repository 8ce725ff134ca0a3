/** The listening sockets of a cluster, and who accepts from them: the processes themselves are in workers.test.ts. */
import type { Worker } from 'node:cluster';
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { expect, onTestFinished, test, vi } from 'vitest';
import { CHECK_INTERVAL } from '../src/balance.js';
import { Sockets } from '../src/sockets.js';
import { PORT_NAMES } from '../src/wire/shared.js';

/** Sockets with started workers, which of them accept on which port, and what else they were sent. */
async function started(count: number) {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval'] });
  const sockets = new Sockets();
  await sockets.bind({ internal: ['127.0.0.1', 0], public: ['127.0.0.1', 0] });
  const accepting: string[] = [];
  const orders: string[] = [];
  const gone = new Set<Worker>();
  const start = (name: string): Worker => {
    const worker = {
      isConnected: () => !gone.has(worker),
      send: (
        { kind, port }: { kind: string; port: string },
        ...more: [unknown, () => void] | [() => void]
      ) => {
        if (gone.has(worker)) throw new Error('its channel is closed');
        if (kind === 'accept') accepting.push(`${name} ${port}`);
        else orders.push(`${name} ${kind} ${port}`);
        (more.at(-1) as (() => void) | undefined)?.();
      },
    } as unknown as Worker;
    sockets.add(worker);
    return worker;
  };
  onTestFinished(async () => {
    await sockets.close();
    vi.useRealTimers();
  });
  const workers = Array.from({ length: count }, (_, number) => start('abc'.charAt(number)));
  const open = (worker: Worker | undefined) => {
    for (const port of PORT_NAMES) sockets.open(worker as Worker, port);
  };
  return { sockets, workers, accepting, orders, gone, start, open };
}
const both = (...names: string[]) => PORT_NAMES.flatMap(port => names.map(name => `${name} ${port}`));

test('none accepts before all are ready; one that starts beside others does not wait', async () => {
  const { workers, accepting, start, open } = await started(3);
  open(workers[0]);
  open(workers[1]);
  expect(accepting).toEqual([]);
  open(workers[2]);
  expect(accepting).toEqual(both('a', 'b', 'c'));
  start('d');
  open(start('e'));
  expect(accepting.slice(6)).toEqual(both('e'));
});

test('one that dies is not waited for, nor one that is not ready after five seconds, on neither port', async () => {
  const { sockets, workers, accepting, open } = await started(3);
  const [first, second, third] = workers as [Worker, Worker, Worker];
  sockets.open(first, 'internal');
  sockets.delete(second);
  expect(accepting).toEqual([]);
  vi.advanceTimersByTime(4999);
  expect(accepting).toEqual([]);
  vi.advanceTimersByTime(1);
  expect(accepting).toEqual(['a internal']);
  sockets.open(first, 'public');
  expect(accepting).toEqual(both('a'));
  open(third);
  expect(accepting.slice(2)).toEqual(both('c'));
});

test('when all have died, those that replace them wait for each other again', async () => {
  const { sockets, workers, accepting, start, open } = await started(2);
  for (const worker of workers) open(worker);
  for (const worker of workers) sockets.delete(worker);
  const next = [start('c'), start('d')];
  open(next[0]);
  expect(accepting.slice(4)).toEqual([]);
  open(next[1]);
  expect(accepting.slice(4)).toEqual(both('c', 'd'));
});

test('a port that is taken, or an address of another machine: the error of listening, with code and address', async () => {
  const taken = createServer().listen(0, '127.0.0.1');
  onTestFinished(() => void taken.close());
  await once(taken, 'listening');
  const { port } = taken.address() as AddressInfo;
  const sockets = new Sockets();
  await expect(
    sockets.bind({ internal: ['127.0.0.1', 0], public: ['127.0.0.1', port] }),
  ).rejects.toMatchObject({
    code: 'EADDRINUSE',
    message: `listen EADDRINUSE: 127.0.0.1:${port}`,
    syscall: 'listen',
    address: '127.0.0.1',
    port,
  });
  await sockets.close();
  const other = new Sockets();
  await expect(other.bind({ internal: ['::2', 0], public: ['127.0.0.1', 0] })).rejects.toMatchObject({
    code: 'EADDRNOTAVAIL',
  });
  await other.close();
});

test('an address of IPv6 is bound with and without brackets', async () => {
  for (const host of ['[::1]', '::1']) {
    const sockets = new Sockets();
    await sockets.bind({ internal: [host, 0], public: [host, 0] });
    await sockets.close();
  }
});

test('each port is balanced apart: a worker that is ahead pauses, and accepts again when the others have caught up', async () => {
  const { sockets, workers, accepting, orders, open } = await started(2);
  const [first, second] = workers as [Worker, Worker];
  for (const worker of workers) open(worker);
  sockets.onReport(first, 'public', 10, 10);
  expect(orders).toEqual(['a pause public']);
  sockets.onReport(second, 'internal', 10, 10);
  expect(orders.slice(1)).toEqual(['b pause internal']);
  sockets.onReport(second, 'public', 10, 10);
  expect(accepting.slice(4)).toEqual(['a public']);
});

test('the one that others wait for is asked, and not waited for when it does not answer', async () => {
  const { sockets, workers, accepting, orders, open } = await started(2);
  for (const worker of workers) open(worker);
  sockets.onReport(workers[0] as Worker, 'public', 10, 10);
  vi.advanceTimersByTime(CHECK_INTERVAL);
  expect(orders).toEqual(['a pause public', 'b ask public']);
  expect(accepting.slice(4)).toEqual([]);
  vi.advanceTimersByTime(CHECK_INTERVAL);
  expect(accepting.slice(4)).toEqual(['a public']);
});

test('a worker that could not take the socket asks again, and gets it', async () => {
  const { sockets, workers, accepting, open } = await started(1);
  open(workers[0] as Worker);
  sockets.open(workers[0] as Worker, 'public');
  expect(accepting).toEqual([...both('a'), 'a public']);
});

test('a worker that asks for the socket again keeps its share: the others do not pause for it', async () => {
  const { sockets, workers, accepting, orders, open } = await started(2);
  const [first, second] = workers as [Worker, Worker];
  for (const worker of workers) open(worker);
  for (const worker of workers) sockets.onReport(worker, 'public', 10, 10);
  orders.length = 0;
  accepting.length = 0;
  sockets.open(first, 'public');
  sockets.onReport(second, 'public', 1, 11);
  expect([accepting, orders]).toEqual([['a public'], []]);
});

test('a worker whose channel is closed is sent nothing, and the others are', async () => {
  const { sockets, workers, accepting, orders, gone, open } = await started(3);
  const [first, second] = workers as [Worker, Worker, Worker];
  for (const worker of workers) open(worker);
  gone.add(first);
  for (const worker of [first, second]) sockets.onReport(worker, 'public', 10, 10);
  expect(orders).toEqual(['b pause public']);
  await sockets.close();
  expect(accepting.slice(6)).toEqual(['b public']);
});

test('when it is closed all accept, also those that paused, and nothing is ordered any more', async () => {
  const { sockets, workers, accepting, orders, open } = await started(3);
  for (const worker of workers) open(worker);
  sockets.onReport(workers[0] as Worker, 'public', 10, 10);
  await sockets.close();
  expect(accepting.slice(6)).toEqual(['a public']);
  sockets.onReport(workers[1] as Worker, 'internal', 50, 50);
  vi.advanceTimersByTime(10 * CHECK_INTERVAL);
  expect(orders).toEqual(['a pause public']);
  sockets.open(workers[2] as Worker, 'public');
  sockets.delete(workers[2] as Worker);
  expect(accepting.slice(7)).toEqual([]);
});

test('while it is closing nothing is ordered either, whatever is reported and due', async () => {
  const { sockets, workers, accepting, orders, open } = await started(2);
  for (const worker of workers) open(worker);
  sockets.onReport(workers[0] as Worker, 'public', 10, 10);
  const closing = sockets.close();
  sockets.onReport(workers[1] as Worker, 'internal', 50, 50);
  vi.advanceTimersByTime(10 * CHECK_INTERVAL);
  await closing;
  expect([orders, accepting.slice(4)]).toEqual([['a pause public'], ['a public']]);
});

test('when it is closed while some wait for others, nobody accepts later', async () => {
  const { sockets, workers, accepting, open } = await started(2);
  open(workers[0] as Worker);
  await sockets.close();
  vi.advanceTimersByTime(10_000);
  expect(accepting).toEqual([]);
});

test('those that were not ready in time are waited for no more, and those of the next start are', async () => {
  const { workers, accepting, start, open, sockets } = await started(2);
  open(workers[0] as Worker);
  vi.advanceTimersByTime(5000);
  expect(accepting).toEqual(both('a'));
  sockets.delete(workers[0] as Worker);
  const next = [start('c'), start('d')];
  open(next[0] as Worker);
  vi.advanceTimersByTime(4999);
  expect(accepting.slice(2)).toEqual([]);
  open(next[1] as Worker);
  expect(accepting.slice(2)).toEqual(both('c', 'd'));
});

test('the five seconds begin with the first that is ready, and not with an earlier start', async () => {
  const { sockets, workers, accepting, start, open } = await started(2);
  open(workers[0]);
  vi.advanceTimersByTime(3000);
  open(workers[1]);
  expect(accepting.splice(0)).toEqual(both('a', 'b'));
  for (const worker of workers) sockets.delete(worker);
  const next = [start('c'), start('d')];
  open(next[0]);
  vi.advanceTimersByTime(4999);
  expect(accepting).toEqual([]);
  vi.advanceTimersByTime(1);
  expect(accepting).toEqual(both('c'));
});

test('those that are ready on one port in time are still waited for on the other', async () => {
  const { sockets, workers, accepting } = await started(3);
  const [first, second] = workers as [Worker, Worker, Worker];
  for (const worker of [first, second]) sockets.open(worker, 'internal');
  vi.advanceTimersByTime(5000);
  expect(accepting.splice(0)).toEqual(['a internal', 'b internal']);
  sockets.open(first, 'public');
  expect(accepting).toEqual([]);
  sockets.open(second, 'public');
  expect(accepting).toEqual(['a public', 'b public']);
});
