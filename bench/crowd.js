/**
 * Crowd test: 60,000 requests held by four workers with Redis, and each page gets its value; for comparison, the most that
 * one process holds, and how long workers of node:http take that do nothing but hold.
 *
 *   npm run crowd
 *   npm run crowd -- --pages 200000 [--workers 14]    as many as the machine allows: memory, idle CPU, Redis
 *
 * A process may open 20,000 files, so the pages are several processes too (pages.c, which needs a C compiler), on several
 * loopback addresses. With BENCH_JSON=file it also writes its figures to that file, for run.js.
 */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { TAGWAIT } from './command.js';
import { busy, cpu, kernel, rss } from './machine.js';
import { compilePages, MOST, startPages } from './pages.js';

const EACH = 15_000;
/**
 * Connections that may have been opened before their requests are held. Fewer than the listen backlog of 4,096: beyond
 * that the kernel drops them, and what is measured is the seconds after which TCP tries again.
 */
const AHEAD = 3600;
const HOLDS = [25, 55];

const { pages, workers } = parseArgs({
  options: { pages: { type: 'string' }, workers: { type: 'string' } },
}).values;
const began = performance.now();
const say = text =>
  process.stderr.write(`${((performance.now() - began) / 1000).toFixed(1).padStart(6)} s  ${text}\n`);
const shown = number => Math.round(number).toLocaleString('en');
const sum = numbers => numbers.reduce((all, one) => all + one, 0);

const folder = mkdtempSync(`${tmpdir()}/tagwait-crowd-`);
const children = new Set();
process.on('exit', () => {
  for (const child of children) child.kill('SIGKILL');
  rmSync(folder, { recursive: true, force: true });
});
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1));
const longest = pages ? 600 : 178;
setTimeout(() => {
  say(`it took more than ${longest} s`);
  process.exit(1);
}, longest * 1000).unref();

const own = child => {
  children.add(child);
  child.once('exit', () => children.delete(child));
  return child;
};

// --- Servers.

async function startRedis() {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address();
  probe.close();
  const words = ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--dir', folder];
  const { pid } = own(spawn('redis-server', words, { stdio: 'ignore' }));
  const cli = (...command) =>
    execFileSync('redis-cli', ['-p', String(port), ...command], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
  for (;;) {
    try {
      cli('ping');
      return { pid, cli, url: `redis://127.0.0.1:${port}` };
    } catch {
      await sleep(50);
    }
  }
}

/** Starts a server that prints the addresses of its ports, and is one process or a primary with workers. */
async function startServer(words, count, env) {
  const child = own(
    spawn(process.execPath, words, { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'inherit'] }),
  );
  child.once('exit', code => {
    if (!code) return;
    say('a server failed');
    process.exit(1);
  });
  const [line] = await once(child.stdout, 'data');
  const [open, internal] = String(line)
    .match(/:\d+(?=\s)/g)
    .map(text => Number(text.slice(1)));
  const listed =
    count === 1 ? '' : execFileSync('pgrep', ['-P', String(child.pid)], { encoding: 'utf8' }).trim();
  const pids = listed ? listed.split('\n').map(Number) : [child.pid];
  const nodes = async () => (await (await fetch(`http://127.0.0.1:${internal}/nodes`)).json()).nodes;
  const stop = async () => {
    const stopped = once(child, 'exit');
    child.kill('SIGTERM');
    return (await stopped)[0];
  };
  return {
    open,
    internal,
    pids,
    primary: child.pid,
    held: async () => (await nodes()).map(({ held }) => held),
    stop,
  };
}

const startTagwait = (redis, count, env = {}) =>
  startServer(TAGWAIT, count, {
    TAGWAIT_REDIS_URL: redis.url,
    TAGWAIT_REDIS_PREFIX: `crowd${count}`,
    TAGWAIT_WORKERS: String(count),
    TAGWAIT_PUBLIC_PORT: '0',
    TAGWAIT_INTERNAL_PORT: '0',
    TAGWAIT_HOLD: '170',
    TAGWAIT_DRAIN: '1',
    TAGWAIT_MAX_HELD_PER_IP: '0',
    TAGWAIT_MAX_POLLS_PER_IP: '0',
    TAGWAIT_LOG_LEVEL: 'warn',
    ...env,
  });

// --- Pages.

const program = compilePages(folder);

/** Starts load processes for so many pages, as few as can open so many files. */
function startLoads(count, { open, internal }) {
  const most = Math.min(MOST, EACH);
  const loads = [];
  for (let first = 0; first < count; first += most) {
    const options = { number: loads.length, count: Math.min(most, count - first), open, internal };
    const load = startPages(program, options);
    own(load.child).once('exit', code => {
      if (code === null) return;
      say('a load process failed');
      process.exit(1);
    });
    loads.push(load);
  }
  return loads;
}
const tell = (loads, command) => Promise.all(loads.map(load => load.ask(command)));
const end = async loads => {
  for (const { child } of loads) child.kill('SIGKILL');
  await Promise.all(loads.map(({ child }) => child.exitCode ?? child.signalCode ?? once(child, 'exit')));
};

/**
 * Has all pages come, and waits until all are held.
 * @param enough share of the pages whose requests must be held at one time; the others are between two polls
 */
async function enter(loads, server, enough = 1) {
  const entered = performance.now();
  const count = sum(loads.map(load => load.count));
  let held = [];
  for (;;) {
    const share = (sum(held) + AHEAD) / count;
    for (const load of loads) load.upto(Math.ceil(load.count * share));
    if (sum(held) >= count * enough) return { held, seconds: (performance.now() - entered) / 1000 };
    await sleep(100);
    held = await server.held();
  }
}

// --- 60,000 on four workers.

async function bareRound(count, policy) {
  const file = fileURLToPath(new URL('servers/bare-workers.js', import.meta.url));
  const server = await startServer([file, String(count), policy], count);
  const loads = startLoads(EACH * count, server);
  const { held, seconds } = await enter(loads, server);
  say(`bare workers, ${policy}: ${shown(sum(held))} held after ${seconds.toFixed(1)} s: ${held.join(', ')}`);
  await end(loads);
  await server.stop();
  return seconds;
}

async function round(redis, count) {
  const server = await startTagwait(redis, count);
  const before = rss(server.pids);
  const loads = startLoads(EACH * count, server);
  const { held, seconds } = await enter(loads, server);
  const kib = (rss(server.pids) - before) / sum(held);
  const primary = count === 1 ? 0 : rss([server.primary]) / 1024;
  say(
    `${count} ${count === 1 ? 'process' : 'workers'}: ${shown(sum(held))} held after ${seconds.toFixed(1)} s: ${held.join(', ')}`,
  );
  const reports = await tell(loads, 'set');
  const heard = sum(reports.map(one => one.heard));
  say(`${shown(heard)} heard their value`);
  await end(loads);
  const code = await server.stop();
  const sets = heard / Math.max(...reports.map(one => one.seconds));
  return { workers: count, count: EACH * count, held, kib, primary, seconds, heard, sets, code };
}

async function usual() {
  const redis = await startRedis();
  const most = Number(workers ?? 4);
  const one = await round(redis, 1);
  const several = await round(redis, most);
  several.bare = { primary: await bareRound(most, 'primary'), shared: await bareRound(most, 'shared') };
  const rows = [one, several];
  const ratio = policy => (several.bare[policy] / several.seconds).toFixed(2);
  if (process.env.BENCH_JSON) writeFileSync(process.env.BENCH_JSON, JSON.stringify(rows));
  process.stdout.write(`
| processes | held | by each | KiB RSS per held request | s until all are held | heard their value | values a second |
| --- | --- | --- | --- | --- | --- | --- |
${rows
  .map(
    ({ workers: count, held, kib, seconds, heard, sets }) =>
      `| ${count} | ${shown(sum(held))} | ${held.map(shown).join(' / ')} | ${kib.toFixed(1)} | ${seconds.toFixed(1)} | ${shown(heard)} | ${shown(sets)} |`,
  )
  .join('\n')}

Workers of node:http that do nothing but hold, without Redis, take ${several.bare.primary.toFixed(1)} s for as many as node:cluster is by
default, and ${several.bare.shared.toFixed(1)} s when they accept from one socket: ${ratio('primary')} and ${ratio('shared')} of their rate.
The primary takes ${shown(several.primary)} MiB besides.
`);
  return rows.every(({ count, held, heard, code }) => sum(held) === count && heard === count && code === 0);
}

// --- As many as the machine allows.

function look(server, redis, loads) {
  const info = redis.cli('INFO', 'everything');
  const of = name => Number(new RegExp(`^${name}:([\\d.]+)`, 'm').exec(info)[1]);
  return {
    at: performance.now() / 1000,
    nodes: cpu(server.pids),
    primary: cpu([server.primary]),
    redis: of('used_cpu_user') + of('used_cpu_sys'),
    load: cpu(loads.map(({ child }) => child.pid)),
    machine: busy(),
    commands: of('total_commands_processed'),
    redisMemory: of('used_memory') / 1024,
    rss: rss(server.pids),
    loadRss: rss(loads.map(({ child }) => child.pid)),
    ...kernel(),
  };
}
const CPU = ['nodes', 'primary', 'redis', 'load', 'machine'];

/** What a while costs, in cores, and commands a second. */
async function during(seconds, { server, redis, loads }) {
  const polls = async () => sum((await tell(loads, 'count')).map(one => one.polls));
  const [before, asked] = [look(server, redis, loads), await polls()];
  await sleep(seconds * 1000);
  const [after, answered] = [look(server, redis, loads), await polls()];
  const rate = name => (after[name] - before[name]) / (after.at - before.at);
  const cores = Object.fromEntries(CPU.map(name => [name, rate(name)]));
  return { cores, commands: rate('commands'), polls: (answered - asked) / (after.at - before.at) };
}

async function large(count) {
  const redis = await startRedis();
  const nodes = Number(workers ?? Math.ceil(count / EACH));
  const server = await startTagwait(redis, nodes, { TAGWAIT_HOLD: String(Math.max(...HOLDS)) });
  await sleep(3000);
  const rest = await during(5, { server, redis, loads: [] });
  const empty = look(server, redis, []);
  say(`${nodes} workers, ${shown(count)} pages`);
  const loads = startLoads(count, server);
  await tell(loads, `hold ${HOLDS[0]}`);
  const entering = look(server, redis, loads);
  const { held, seconds } = await enter(loads, server, 0.995);
  const entered = look(server, redis, loads);
  const opened = Object.fromEntries(
    CPU.map(name => [name, ((entered[name] - entering[name]) * 1e6) / count]),
  );
  say(
    `${shown(sum(held))} held after ${seconds.toFixed(1)} s, ${shown(Math.min(...held))} to ${shown(Math.max(...held))} each`,
  );
  const idle = [];
  for (const [index, hold] of HOLDS.entries()) {
    const all = await server.held();
    // each page polls once while a hold is measured, and asks for the next one
    await tell(loads, `hold ${HOLDS[index + 1] ?? hold}`);
    idle.push({ hold, held: sum(all), ...(await during(hold, { server, redis, loads })) });
    const { cores, polls } = idle.at(-1);
    say(`hold ${hold} s: ${shown(polls)} polls a second, ${cores.nodes.toFixed(2)} cores`);
  }
  const full = look(server, redis, loads);
  const reports = await tell(loads, 'set');
  const total = name => sum(reports.map(one => one[name]));
  const result = {
    ...{ pages: count, workers: nodes, seconds, held, opened, rest, idle },
    ...{ empty, full, heard: total('heard'), broken: total('broken'), refused: total('refused') },
    sets: count / Math.max(...reports.map(one => one.seconds)),
  };
  say(`${shown(result.heard)} heard their value`);
  if (process.env.BENCH_JSON) writeFileSync(process.env.BENCH_JSON, JSON.stringify(result));
  process.stdout.write(tableOf(result));
  await end(loads);
  return result.heard === count && result.broken === 0 && (await server.stop()) === 0;
}

function tableOf({ pages: count, workers: nodes, seconds, opened, rest, idle, empty, full, ...result }) {
  const each = name => (full[name] - empty[name]) / count;
  const rows = [
    ['workers', nodes],
    ['s until all are held', seconds.toFixed(1)],
    [
      'CPU µs a page that comes: nodes, primary, Redis',
      ['nodes', 'primary', 'redis'].map(name => shown(opened[name])).join(', '),
    ],
    ...idle.map(({ hold, held }) => [`held at once, hold ${hold} s`, shown(held)]),
    ['MiB of an empty worker', (empty.rss / nodes / 1024).toFixed(1)],
    ['KiB of RSS a page', each('rss').toFixed(2)],
    ['KiB of kernel a page, both ends', each('slab').toFixed(2)],
    ['KiB of Redis a page', each('redisMemory').toFixed(3)],
    ['MiB of the load', shown(full.loadRss / 1024)],
    ['cores of empty workers, Redis', `${rest.cores.nodes.toFixed(3)}, ${rest.cores.redis.toFixed(3)}`],
    ...idle.flatMap(({ hold, cores, commands, polls }) => [
      [`hold ${hold} s: polls a second`, shown(polls)],
      [`… cores of nodes, Redis`, `${cores.nodes.toFixed(2)}, ${cores.redis.toFixed(3)}`],
      [`… cores of the load, whole machine`, `${cores.load.toFixed(2)}, ${cores.machine.toFixed(2)}`],
      [
        `… CPU µs a poll, beyond empty workers`,
        (((cores.nodes - rest.cores.nodes) * 1e6) / polls).toFixed(1),
      ],
      [
        `… Redis commands a second, a poll`,
        `${shown(commands)}, ${((commands - rest.commands) / polls).toFixed(4)}`,
      ],
    ]),
    ['values a second', shown(result.sets)],
    ['heard their value', shown(result.heard)],
    ['connections broken, polls refused', `${result.broken}, ${result.refused}`],
  ];
  return `\n| ${shown(count)} pages | |\n| --- | --- |\n${rows.map(row => `| ${row.join(' | ')} |`).join('\n')}\n`;
}

process.exit((await (pages ? large(Number(pages)) : usual())) ? 0 : 1);
