/**
 * Cost of idle pages in Redis while nothing is set: commands per second, and CPU time of Redis's main thread.
 *
 *   npm run idle -- [pages, 50000]
 *
 * Starts its own Redis, measures 20 s without pages and 80 s with pages (two cycles of verification), and prints the
 * difference. Pages are held in this process, without HTTP: only Redis is measured.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { RedisBroker } from '../dist/brokers/redis/redis.js';
import { LongPoll } from '../dist/hold/longpoll.js';
import { until } from './until.js';

const PAGES = Number(process.argv[2] ?? 50_000);
/** Length of a hold, and of a cycle in which every subscription is read four times and renewed once, ms. */
const HOLD = 25_000;
const CYCLE = 40_000;

const port = await freePort();
const server = spawn(
  'redis-server',
  ['--port', `${port}`, '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no'],
  {
    stdio: 'ignore',
  },
);
process.on('exit', () => server.kill());
const client = new Redis({ port, retryStrategy: () => 50, maxRetriesPerRequest: null });
client.on('error', () => {});
await client.ping();

const pages = { open: true };
const log = { info() {}, warn() {} };
const store = { kind: 'server', url: `redis://127.0.0.1:${port}` };
const options = { store, prefix: 'tagwait', history: 16, wait: 0, node: 'idle', log };
const longpoll = new LongPoll(new RedisBroker(options), { id: 'idle', version: '0' });
await longpoll.start();

const without = await measure(20_000);
for (let page = 0; page < PAGES; page++) hold(`k${String(page).padStart(21, '0')}`);
await until(() => longpoll.counts().leases === PAGES);
await sleep(CYCLE / 4);
const idle = await measure(2 * CYCLE);

const commands = (idle.commands - without.commands) / (PAGES / (HOLD / 1000));
const core = ((idle.core - without.core) * 100_000) / PAGES;
console.log(`${PAGES} idle pages: ${commands.toFixed(4)} commands an idle poll of ${HOLD / 1000} s`);
console.log(`for 100,000 idle pages: ${(core * 100).toFixed(2)} % of one core of Redis`);
pages.open = false;
await longpoll.close();
client.disconnect();
server.kill();
await once(server, 'exit');

/** A page that polls again whenever its hold ends. */
function hold(key, since = '') {
  const answer = ({ cursor }) => pages.open && hold(key, cursor);
  longpoll.get({ key, since, hold: HOLD }, { answer });
}

/** Measures for some ms: commands per second, and the share of a core that the main thread uses. */
async function measure(ms) {
  const before = await counters();
  await sleep(ms);
  const after = await counters();
  const seconds = (after.at - before.at) / 1000;
  return { commands: (after.sent - before.sent) / seconds, core: (after.cpu - before.cpu) / seconds };
}

async function counters() {
  const [stats, cpu] = [await client.info('commandstats'), await client.info('cpu')];
  const calls = name => Number(new RegExp(`cmdstat_${name}:calls=(\\d+)`).exec(stats)?.[1] ?? 0);
  const seconds = name => Number(new RegExp(`used_cpu_${name}_main_thread:([\\d.]+)`).exec(cpu)?.[1] ?? 0);
  // leaves out commands that scripts call
  const sent = ['evalsha', 'eval', 'mget', 'ping', 'subscribe'].reduce((sum, name) => sum + calls(name), 0);
  return { at: performance.now(), sent, cpu: seconds('user') + seconds('sys') };
}

async function freePort() {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port: free } = probe.address();
  probe.close();
  await once(probe, 'close');
  return free;
}
