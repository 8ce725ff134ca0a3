/**
 * `npm run bench`: runs every server under the same load on one machine. README.md explains the figures.
 * `npm run bench -- --only=answers,redis` runs some of the steps and writes nothing.
 */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, release, tmpdir, totalmem } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { inPairs } from './pairs.js';
import { report } from './report.js';

const here = path => fileURLToPath(new URL(path, import.meta.url));
if (!existsSync(here('node_modules/faye')))
  execFileSync('npm', ['ci', '--no-audit', '--no-fund'], { cwd: here('.'), stdio: 'inherit' });
const servers = await import('./servers.js');
const { BARE, FLOOR, OURS, PEERS, OURS_OVER_REDIS, NCHAN_OVER_REDIS } = servers;
const { atRest, cpu, endRunning, has, rss, startControl, startLoad, startRedis, stop, twoNodes } = servers;

/** Time after which no further pair is begun, ms; the steps that follow the pairs need REST. */
const LONGEST = Number(process.env.BENCH_MINUTES ?? 14) * 60_000;
const REST = 330_000;
const HELD = [1000, 5000, 10_000, 15_000];
const ONLY = process.argv
  .find(argument => argument.startsWith('--only='))
  ?.slice(7)
  .split(',');
const wanted = name => !ONLY || ONLY.includes(name);
const began = performance.now();
const say = text =>
  process.stderr.write(`${String(Math.round((performance.now() - began) / 1000)).padStart(4)} s  ${text}\n`);

process.on('exit', servers.endAll);
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1));
// the load ends with this process, also if something hangs
setTimeout(() => process.exit(3), LONGEST + 300_000).unref();

/** By server and figure: a list of samples. */
const figures = {};
const note = (name, figure, value) => {
  figures[name] ??= {};
  figures[name][figure] ??= [];
  figures[name][figure].push(value);
};
/** By comparison: its pairs and how many were discarded as noisy. */
const comparisons = {};
/** The steps that failed or did not end in time. */
const failures = [];

/** Runs one step and prints its name. A failure does not stop the run. */
async function step(part, label, work, within = 100_000) {
  if (!wanted(part)) return;
  say(label);
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
}

/** Starts a server and a load process. */
async function open({ name, protocol, start }) {
  const server = await start();
  const load = startLoad();
  const { ports, setPort } = server;
  await load.setup({ protocol, ports, setPort });
  const close = async () => {
    await load.end();
    await stop(server);
  };
  return { name, server, load, close };
}

/** Runs `work` with one server under load, and ends both also after a failure. */
async function against(subject, work) {
  const one = await open(subject);
  try {
    return await work(one);
  } finally {
    await one.close();
  }
}

/** Memory per held request of a process that has just started. */
const memory = subject =>
  against(subject, async ({ name, server, load }) => {
    await sleep(300);
    const before = rss(server);
    for (const count of HELD) {
      await load.hold({ count });
      await atRest(server);
      note(name, `rss${count}`, (rss(server) - before) / count);
    }
  });

/** One window of a closed loop: CPU time per answer. */
async function loopWindow({ name, server, load }, options) {
  const before = cpu(server);
  const loop = await load.loop(options);
  const cost = (cpu(server) - before) / loop.answers;
  note(name, 'cpu', cost);
  note(name, 'answers', loop.answers / loop.seconds);
  note(name, 'lost', loop.lost);
  return { cpu: cost };
}

/** One window at a fixed rate: latency. */
async function rateWindow({ name, load }, options) {
  const paced = await load.rate(options);
  for (const figure of ['p50', 'p99', 'p999', 'lost']) note(name, figure, paced[figure]);
  return { p99: paced.p99 };
}

/**
 * Compares two servers that run at the same time on one core, by turns under load: answers in a closed loop, then
 * latency at a fixed rate.
 */
async function compare(label, subjects, { held, loops, answers, rates, rate, seconds, lead }) {
  const running = [];
  const control = startControl();
  const until = began + LONGEST - REST;
  try {
    for (const subject of subjects) running.push(await open(subject));
    for (const { server, load } of running) {
      await load.hold({ count: held });
      await atRest(server);
      // warm-up: V8 compiles hot code on threads whose CPU time counts too
      await load.loop({ count: 24_000 });
    }
    const windows = measure => running.map(one => () => measure(one));
    const options = { control: control.control, until };
    comparisons[`${label}: answers`] = await inPairs(
      windows(one => loopWindow(one, { count: answers })),
      { ...options, pairs: loops },
    );
    const [ours] = running;
    if (ours.server.redis) await redisCost(ours);
    comparisons[`${label}: latency`] = await inPairs(
      windows(one => rateWindow(one, { seconds, rate, lead })),
      { ...options, pairs: rates },
    );
  } finally {
    await control.end();
    for (const one of running) await one.close();
  }
}

/** Redis's own time per set, µs: 16 sets in flight, and one at a time. */
async function redisCost({ name, server, load }) {
  const spent = () => {
    const lines = server.redis.cli('INFO', 'commandstats').matchAll(/cmdstat_(\w+):calls=\d+,usec=(\d+)/g);
    // a script's time has that of the commands in it
    return [...lines]
      .filter(([, command]) => /^(evalsha|eval|fcall)$/.test(command))
      .reduce((sum, [, , time]) => sum + Number(time), 0);
  };
  for (const [figure, wide] of [
    ['redis16', 16],
    ['redis1', 1],
  ]) {
    const before = spent();
    const loop = await load.loop({ count: 4000, wide });
    note(name, figure, (spent() - before) / loop.answers);
    note(name, 'lost', loop.lost);
  }
}

/** CPU time per answer of the first seconds of a process, for both, each in processes of their own. */
async function cold() {
  const fresh = subject => () =>
    against(subject, async ({ server, load }) => {
      await load.hold({ count: 1000 });
      const before = cpu(server);
      const loop = await load.loop({ count: 1e9, seconds: 10 });
      return { cpu: (cpu(server) - before) / loop.answers };
    });
  const control = startControl();
  try {
    comparisons['in memory: first 10 s'] = await inPairs([fresh(OURS), fresh(BARE)], {
      pairs: 4,
      control: control.control,
      until: began + LONGEST - REST,
    });
  } finally {
    await control.end();
  }
}

/** Measures a server that is not compared in pairs, once. */
const single = subject =>
  against(subject, async one => {
    await one.load.hold({ count: 10_000 });
    await atRest(one.server);
    await one.load.loop({ count: 18_000 });
    await loopWindow(one, { count: 18_000 });
    await rateWindow(one, { seconds: 4, rate: 1000 });
  });

/** Measures the cost of holds that time out: 10,000 pages that poll every 25 s. */
const idle = (subject, redis) =>
  against(subject, async ({ name, server, load }) => {
    const hold = 5;
    await load.hold({ count: 10_000, hold });
    await sleep(2 * hold * 1000);
    const commands = () =>
      redis ? Number(/total_commands_processed:(\d+)/.exec(redis.cli('INFO', 'stats'))[1]) : 0;
    await load.mark();
    const [spent, asked] = [cpu(server), commands()];
    await sleep(2 * hold * 1000);
    const { polls } = await load.polled();
    note(name, 'idle', ((cpu(server) - spent) / polls) * (10_000 / 25) * 1e-4);
    if (redis) note(name, 'commands', (commands() - asked - 1) / polls);
  });

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

const LONG = 240_000;
for (let round = 1; round <= 3; round++)
  for (const subject of [OURS, BARE])
    await step('memory', `memory ${round}: ${subject.name}`, () => memory(subject));
await step(
  'answers',
  'in memory, tagwait and node:http in pairs',
  () =>
    compare('in memory', [OURS, BARE], {
      ...{ held: 10_000, loops: 24, answers: 6000 },
      ...{ rates: 8, rate: 1000, seconds: 2, lead: 0.5 },
    }),
  LONG,
);
if (ONLY?.includes('floor'))
  await step(
    'floor',
    'in memory, tagwait and node:net in pairs',
    () =>
      compare('over node:net', [OURS, FLOOR], {
        ...{ held: 10_000, loops: 12, answers: 6000 },
        ...{ rates: 4, rate: 1000, seconds: 2, lead: 0.5 },
      }),
    LONG,
  );
await step('cold', 'without warm-up, tagwait and node:http in pairs', cold, LONG);
if (has.redis && has.nchan)
  await step(
    'redis',
    'over Redis, tagwait and nchan in pairs',
    () =>
      compare('over Redis', [OURS_OVER_REDIS, NCHAN_OVER_REDIS], {
        ...{ held: 5000, loops: 24, answers: 4000 },
        ...{ rates: 8, rate: 500, seconds: 4, lead: 0.5 },
      }),
    LONG,
  );
for (const subject of PEERS)
  await step('peers', `once: ${subject.name}`, async () => {
    await memory(subject);
    await single(subject);
  });

for (const subject of [BARE, OURS]) await step('idle', `idle pages: ${subject.name}`, () => idle(subject));
const extra = {};
if (has.redis) {
  await step('idle', 'idle pages: tagwait over Redis', async () => {
    const redis = await startRedis();
    await idle({ ...OURS_OVER_REDIS, start: () => twoNodes(redis) }, redis);
  });
  const storm = async () => {
    extra.storm = await apart('storm.js');
  };
  const crowd = async () => {
    extra.crowd = await apart('crowd.js');
  };
  await step('storm', 'storm.js: a node is killed, then both are restarted', storm, LONG);
  await step('crowd', 'crowd.js: 60,000 held', crowd, LONG);
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
const { markdown, svg, missed } = report({ figures, comparisons, extra, machine, failures });
process.stdout.write(markdown);
if (ONLY) process.exit(missed.length + failures.length > 0 ? 1 : 0);
writeFileSync(here('results.md'), markdown);
writeFileSync(here('results.svg'), svg);
writeFileSync(here('results.json'), `${JSON.stringify({ machine, figures, comparisons, extra }, null, 1)}\n`);
say('written: bench/results.md, results.svg, results.json');
process.exit(missed.length + failures.length > 0 ? 1 : 0);
