/**
 * `npm run bench`: runs every server under the same load on one machine. README.md explains the figures.
 */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, release, tmpdir, totalmem } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { report } from './report.js';

const here = path => fileURLToPath(new URL(path, import.meta.url));
if (!existsSync(here('node_modules/faye')))
  execFileSync('npm', ['ci', '--no-audit', '--no-fund'], { cwd: here('.'), stdio: 'inherit' });
const servers = await import('./servers.js');
const { EMBEDDED, OVER_REDIS, atRest, cpu, endRunning, has, rss, startLoad, startRedis, stop, twoNodes } =
  servers;

const rounds = Number(process.env.BENCH_ROUNDS ?? 5);
/** A round starts only if it can end in time. */
const LONGEST = Number(process.env.BENCH_MINUTES ?? 13) * 60_000;
/** Time that the steps after the rounds take, ms. */
const REST = 270_000;
const HELD = [1000, 5000, 10_000, 15_000];
const began = performance.now();
const say = text =>
  process.stderr.write(`${String(Math.round((performance.now() - began) / 1000)).padStart(4)} s  ${text}\n`);

process.on('exit', servers.endAll);
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1));
// the load ends with this process, also if something hangs
setTimeout(() => process.exit(3), LONGEST + 300_000).unref();

/** by server and figure: one number per round */
const figures = {};
const note = (name, figure, value) => {
  figures[name] ??= {};
  figures[name][figure] ??= [];
  figures[name][figure].push(value);
};

/** The steps that failed or did not end in time. */
const failures = [];
/** Runs one step and prints its name. A failure does not stop the run. @returns duration, ms */
async function step(label, work, within = 100_000) {
  say(label);
  const from = performance.now();
  let late;
  try {
    await Promise.race([
      work(),
      new Promise((_, reject) => {
        late = setTimeout(() => reject(new Error(`not done within ${within / 1000} s`)), within);
      }),
    ]);
  } catch (error) {
    say(`${label}: ${error.message}`);
    failures.push(`${label}: ${error.message}`);
    endRunning();
  } finally {
    clearTimeout(late);
  }
  return performance.now() - from;
}

/** Starts a server and a load process, and ends both also after a failure. */
async function against(start, protocol, work) {
  const server = await start();
  const load = startLoad();
  try {
    const { ports, setPort } = server;
    await load.setup({ protocol, ports, setPort });
    return await work(server, load);
  } finally {
    await load.end();
    await stop(server);
  }
}

/** Measures memory per held request. */
const memory = ({ name, protocol, start }) =>
  against(start, protocol, async (server, load) => {
    await sleep(300);
    const before = rss(server);
    for (const count of HELD) {
      await load.hold({ count });
      await atRest(server);
      note(name, `rss${count}`, (rss(server) - before) / count);
    }
  });

/** Measures CPU time per answer and latency. */
const answers = ({ name, protocol, start }, { held, rate, seconds }) =>
  against(start, protocol, async (server, load) => {
    await load.hold({ count: held });
    await atRest(server);
    // warm-up: V8 compiles hot code on threads whose CPU time counts too
    await load.loop({ count: 18_000 });
    const before = cpu(server);
    const loop = await load.loop({ count: 24_000 });
    note(name, 'cpu', (cpu(server) - before) / loop.answers);
    note(name, 'answers', loop.answers / loop.seconds);
    const paced = await load.rate({ seconds, rate });
    for (const figure of ['p50', 'p99', 'p999']) note(name, figure, paced[figure]);
    note(name, 'lost', loop.lost + paced.lost);
  });

/** Measures the cost of holds that time out: 10,000 pages that poll every 25 s. */
async function idle(name, protocol, start, redis) {
  await against(start, protocol, async (server, load) => {
    const hold = 5;
    await load.hold({ count: 10_000, hold });
    await sleep(2 * hold * 1000);
    const commands = () =>
      redis ? Number(/total_commands_processed:(\d+)/.exec(redis.cli('INFO', 'stats'))[1]) : 0;
    await load.mark();
    const [spent, asked] = [cpu(server), commands()];
    await sleep(2 * hold * 1000);
    const { polls } = await load.polls();
    note(name, 'idle', ((cpu(server) - spent) / polls) * (10_000 / 25) * 1e-4);
    if (redis) note(name, 'commands', (commands() - asked - 1) / polls);
  });
}

/** Runs another script, passes on its output and returns its figures. */
async function apart(script) {
  const file = join(tmpdir(), `tagwait-bench-${process.pid}.json`);
  const child = spawn(process.execPath, [here(script)], {
    stdio: ['ignore', 'ignore', 'inherit'],
    env: { ...process.env, BENCH_JSON: file },
  });
  const [code] = await once(child, 'exit');
  if (code !== 0) throw new Error(`${script} ended with ${code}`);
  const figures = JSON.parse(readFileSync(file, 'utf8'));
  rmSync(file);
  return figures;
}

say(
  `${rounds} rounds of ${EMBEDDED.length + OVER_REDIS.length} servers${has.nchan ? '' : ', without nchan: nginx has no such module here'}`,
);
for (let round = 1; round <= rounds; round++) {
  /** duration of the steps that the next round has too, ms */
  let again = 0;
  for (const server of EMBEDDED) {
    // only ours and the bare server have targets, so they run in more rounds than the others
    if (round > 1 && server.peer) continue;
    const took =
      (await step(`round ${round}: ${server.name}, memory`, () => memory(server))) +
      (await step(`round ${round}: ${server.name}, answers`, () =>
        answers(server, { held: 10_000, rate: 1000, seconds: 4 }),
      ));
    if (!server.peer) again += took;
  }
  // three processes on one core at half the rate: pauses of the machine weigh more, so it runs longer
  for (const server of OVER_REDIS)
    again += await step(`round ${round}: ${server.name}`, () =>
      answers(server, { held: 5000, rate: 500, seconds: 12 }),
    );
  if (performance.now() - began + again > LONGEST - REST) break;
}

const [bare, ours] = EMBEDDED;
await step(`idle pages: ${bare.name}`, () => idle(bare.name, 'bare', bare.start));
await step(`idle pages: ${ours.name}`, () => idle(ours.name, 'tagwait', ours.start));
const extra = {};
if (has.redis) {
  const name = 'tagwait, two nodes + Redis';
  await step('idle pages: tagwait over Redis', async () => {
    const redis = await startRedis();
    await idle(name, 'tagwait', () => twoNodes(redis), redis);
  });
  const three = 180_000;
  const storm = async () => {
    extra.storm = await apart('storm.js');
  };
  const crowd = async () => {
    extra.crowd = await apart('crowd.js');
  };
  await step('storm.js: a node is killed, then both are restarted', storm, three);
  await step('crowd.js: 60,000 held', crowd, three);
}

const redisVersion = has.redis ? execFileSync('redis-server', ['--version'], { encoding: 'utf8' }) : '';
const machine = {
  cpu: `${cpus().length} × ${cpus()[0]?.model.trim() || 'unknown'}`,
  memory: `${Math.round(totalmem() / 2 ** 30)} GiB`,
  versions: [
    `Node ${process.version}`,
    `Linux ${release().split('-')[0]}`,
    redisVersion && `Redis ${/v=(\S+)/.exec(redisVersion)?.[1]}`,
    has.nchan && 'nchan of Debian 12',
  ].filter(Boolean),
  date: new Date().toISOString().slice(0, 10),
  minutes: Math.ceil((performance.now() - began) / 60_000),
};
const { markdown, svg, missed } = report(figures, extra, machine, failures);
writeFileSync(here('results.md'), markdown);
writeFileSync(here('results.svg'), svg);
writeFileSync(here('results.json'), `${JSON.stringify({ machine, figures, extra }, null, 1)}\n`);
process.stdout.write(markdown);
say('written: bench/results.md, results.svg, results.json');
process.exit(missed.length + failures.length > 0 ? 1 : 0);
