/**
 * An hour of a thousand pages in some seconds: polls that time out, hear a value or are given up, on keys that come and
 * expire; first without HTTP, then some over sockets. Prints the heap in use when the first sixth was over, and at the end.
 *
 *   node --expose-gc test/growth.js [redis url]
 */
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { until } from '../bench/until.js';
import { MemoryBroker } from '../dist/brokers/memory.js';
import { RedisBroker } from '../dist/brokers/redis/redis.js';
import { configOf } from '../dist/config.js';
import { LongPoll } from '../dist/hold/longpoll.js';
import { startService } from '../dist/service.js';

const PAGES = 1000;
const ROUNDS = 144;
const SOCKETS = 60;
/** milliseconds */
const HOLD = 15;
const TTL = 40;
const redisUrl = process.argv[2] || undefined;

const log = { info() {}, warn() {} };
const broker = redisUrl
  ? new RedisBroker({
      store: { kind: 'server', url: redisUrl },
      prefix: 'growth',
      history: 4,
      wait: 0,
      node: 'n',
      log,
    })
  : new MemoryBroker({ history: 4 });
const longpoll = new LongPoll(broker, { id: 'n', version: '0' });
await longpoll.start();
const service = await startService(
  configOf({
    publicHost: '127.0.0.1',
    publicPort: 0,
    internalPort: 0,
    logLevel: 'silent',
    drain: 0,
    redisUrl,
  }),
);

let polls = 0;
/** One poll, held: answered, or given up halfway. */
function poll(key, since, gaveUp) {
  polls++;
  return new Promise(resolve => {
    const answer = ({ cursor }) => resolve(cursor);
    const waiter = longpoll.get({ key, since, hold: HOLD }, { answer });
    if (gaveUp)
      setTimeout(() => {
        longpoll.leave(waiter);
        resolve(undefined);
      }, HOLD / 2);
  });
}

async function page(number, rounds) {
  let since = '';
  for (let round = 0; round < rounds; round++) {
    // a login is scanned within a few polls: then comes the next, whose key nobody has seen
    if (round % 6 === 0) since = '';
    const key = `k${number}.${Math.floor(polls / (6 * PAGES))}`;
    if ((round + number) % 7 === 0) void longpoll.set(key, { round }, { ttl: TTL, id: `${round}` });
    since = (await poll(key, since, (round + number) % 5 === 0)) ?? since;
  }
}

/** The same from outside: each socket asks in turn, for something else now and then; one in five breaks while it is held. */
async function visitor(number, rounds) {
  const { port } = new URL(service.publicUrl);
  let socket;
  for (let round = 0; round < rounds; round++) {
    polls++;
    socket ??= connect({ port, host: '127.0.0.1', noDelay: true });
    const asked = round % 4 === 1 ? '/healthz' : `/status/get?key=v${number}.${round}&hold=0.02&callback=c`;
    socket.write(`GET ${asked} HTTP/1.1\r\nHost: x\r\n\r\n`);
    if (round % 5 === 0) {
      await sleep(10);
      socket.destroy();
      socket = undefined;
    } else await new Promise(resolve => socket.once('data', resolve));
  }
  socket?.destroy();
}

async function all(rounds) {
  await Promise.all(Array.from({ length: PAGES }, (_, number) => page(number, rounds)));
  await Promise.all(Array.from({ length: SOCKETS }, (_, number) => visitor(number, rounds)));
}

/** What is in use when all pages have gone and all keys have been given up: the condition, not a time, is waited for. */
async function settled() {
  const watched = async () =>
    Number(
      /^tagwait_watched_keys (\d+)/m.exec(await (await fetch(`${service.internalUrl}/metrics`)).text())?.[1],
    );
  await until(
    async () => longpoll.counts().watched + (await watched()) === 0,
    'nothing is watched any more',
    { every: 100 },
  );
  // twice, with a turn between: what finalizers and closed handles held goes with the second
  for (let time = 0; time < 4; time++) {
    globalThis.gc();
    await sleep(50);
  }
  return process.memoryUsage().heapUsed;
}

await all(ROUNDS / 6);
const before = await settled();
const counted = polls;
await all((ROUNDS * 5) / 6);
const after = await settled();
process.stdout.write(
  `${JSON.stringify({ before, after, polls: polls - counted, watched: longpoll.counts().watched, held: longpoll.held })}\n`,
);
process.exit(0);
