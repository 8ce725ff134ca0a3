/** When the workers of a start begin to accept, in milliseconds: the processes themselves are in workers.test.ts. */
import type { Worker } from 'node:cluster';
import { expect, onTestFinished, test, vi } from 'vitest';
import { Sockets } from '../src/sockets.js';
import { PORT_NAMES } from '../src/wire/shared.js';

/** Sockets with started workers, and which of them accept on which port. */
async function started(count: number) {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval'] });
  const sockets = new Sockets();
  await sockets.bind({ internal: ['127.0.0.1', 0], public: ['127.0.0.1', 0] });
  const accepting: string[] = [];
  const start = (name: string): Worker => {
    const worker = {
      isConnected: () => true,
      send: ({ kind, port }: { kind: string; port: string }, ...[, done]: [unknown, () => void]) => {
        if (kind === 'accept') accepting.push(`${name} ${port}`);
        done?.();
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
  return { sockets, workers, accepting, start, open };
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
