/**
 * Whether a poll or a set costs more when more is kept: at 1,000, 10,000 and 100,000 keys, and at a history of 1, 16, 200
 * and 1,000 values.
 *
 *   npm run kept -- [memory] [redis]
 *
 * All services of a table run at the same time on one core and are measured by turns, so that a slow minute of the machine affects
 * all of them. Prints CPU µs for each request, and the ratio to the first service with its 95 % interval. Takes about
 * four minutes.
 */
import { atRest, cpu, endAll, has, startLoad, startRedis, startTagwait, stop } from './servers.js';
import { interval, median } from './statistics.js';

const ROUNDS = 11;
const REQUESTS = 4000;
/** Keys that are polled, spread over all that are kept. */
const POLLED = 200;
const SERIES = [
  {
    name: 'keys, of 4 values each',
    at: [1000, 10_000, 100_000].map(keys => ({ label: keys, keys, history: 4 })),
  },
  {
    name: 'values of each of 200 keys',
    at: [1, 16, 200, 1000].map(history => ({ label: history, keys: 200, history })),
  },
];
/** Requests of each kind, by load.js. */
const KINDS = {
  set: (load, keys) => load.sets({ count: REQUESTS, keys }),
  poll: load => load.polls({ count: REQUESTS, pages: POLLED }),
};

process.on('exit', endAll);
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1));
const began = performance.now();
const say = text =>
  process.stderr.write(`${((performance.now() - began) / 1000).toFixed(1).padStart(6)} s  ${text}\n`);
const STORES = process.argv.slice(2).filter(word => /^(memory|redis)$/.test(word));
const stores = STORES.length > 0 ? STORES : ['memory', ...(has.redis ? ['redis'] : [])];

/** Starts a service and fills it. */
async function open(store, { label, keys, history }) {
  const redis = store === 'redis' ? await startRedis() : undefined;
  const server = await startTagwait({
    TAGWAIT_HISTORY: String(history),
    TAGWAIT_TTL: '3600',
    ...(redis && { TAGWAIT_REDIS_URL: redis.url }),
  });
  const load = startLoad();
  await load.setup({ protocol: 'tagwait', ports: server.ports, setPort: server.setPort });
  const { failed } = await load.sets({ keys, times: history, wide: 64 });
  if (failed > 0) throw new Error(`${failed} sets failed`);
  await atRest(server);
  say(`${label}: filled`);
  return { label, keys, server, redis, load };
}

/** Redis's own time of all scripts, µs. */
const inRedis = redis => {
  if (!redis) return Number.NaN;
  const lines = redis.cli('INFO', 'commandstats').matchAll(/cmdstat_(\w+):calls=\d+,usec=(\d+)/g);
  return [...lines]
    .filter(([, command]) => /^(evalsha|eval|fcall)$/.test(command))
    .reduce((sum, [, , time]) => sum + Number(time), 0);
};

async function window({ server, redis, load, keys }, kind) {
  const [before, spent] = [cpu(server), inRedis(redis)];
  const { count, failed } = await KINDS[kind](load, keys);
  if (failed > 0) throw new Error(`${failed} of ${kind} failed`);
  return { service: (cpu(server) - before) / count, redis: (inRedis(redis) - spent) / count };
}

/** @returns by kind and service, a list of windows */
async function measure(store, { at }) {
  const services = [];
  for (const one of at) services.push(await open(store, one));
  const found = Object.fromEntries(Object.keys(KINDS).map(kind => [kind, services.map(() => [])]));
  for (let round = -2; round < ROUNDS; round++)
    for (const kind of Object.keys(KINDS))
      for (let turn = 0; turn < services.length; turn++) {
        // another one begins each round
        const index = (turn + round + services.length) % services.length;
        const figures = await window(services[index], kind);
        // the first rounds compile
        if (round >= 0) found[kind][index].push(figures);
      }
  for (const { server, redis, load } of services) {
    await load.end();
    await stop(server);
    if (redis) await stop({ children: [redis.child] });
  }
  return found;
}

const shown = number => number.toPrecision(3);
for (const store of stores)
  for (const series of SERIES) {
    say(`${store}: ${series.name}`);
    const found = await measure(store, series);
    console.log(`\n${store}: ${series.name}\n\n| | | ${series.at.map(({ label }) => label.toLocaleString('en')).join(' | ')} |
| --- | --- |${' --- |'.repeat(series.at.length)}`);
    for (const [kind, services] of Object.entries(found))
      for (const part of store === 'redis' ? ['service', 'redis'] : ['service']) {
        const cells = services.map((windows, index) => {
          const cost = shown(median(windows.map(one => one[part])));
          if (index === 0) return cost;
          const { value, low, high } = interval(
            windows.map((one, round) => one[part] / services[0][round][part]),
          );
          return `${cost}, × ${shown(value)} <small>(${shown(low)}–${shown(high)})</small>`;
        });
        console.log(`| ${kind} | ${part} | ${cells.join(' | ')} |`);
      }
  }
process.exit(0);
