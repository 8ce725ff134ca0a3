/**
 * `npm run bench`: every server, the same load, one machine, one run. See README.md for what the figures mean.
 * `npm run bench -- --readme` puts the table into the project's README as well.
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
/** A round begins only while it can still end in time. */
const LONGEST = Number(process.env.BENCH_MINUTES ?? 13) * 60_000;
/** ms that what comes after the rounds takes. */
const REST = 270_000;
const HELD = [1000, 5000, 10_000, 15_000];
const began = performance.now();
const say = text =>
  process.stderr.write(`${String(Math.round((performance.now() - began) / 1000)).padStart(4)} s  ${text}\n`);

process.on('exit', servers.endAll);
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1));
// whatever hangs: the load ends with this process
setTimeout(() => process.exit(3), LONGEST + 300_000).unref();

/** name → figure → one number a round */
const figures = {};
const note = (name, figure, value) => {
  figures[name] ??= {};
  figures[name][figure] ??= [];
  figures[name][figure].push(value);
};

/** What did not come to its end in time, or failed. */
const failures = [];
/** Does one step, shows it, and goes on to the next whatever happens. @returns ms it took */
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

/** Starts a server and a load for it, and ends both whatever happens. */
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

/** What a held request keeps in memory. */
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

/** What an answer costs, and how late it comes. */
const answers = ({ name, protocol, start }, { held, rate, seconds }) =>
  against(start, protocol, async (server, load) => {
    await load.hold({ count: held });
    await atRest(server);
    // V8 compiles what is hot on threads that are counted too: so many answers until that is over
    await load.loop({ count: 18_000 });
    const before = cpu(server);
    const loop = await load.loop({ count: 24_000 });
    note(name, 'cpu', (cpu(server) - before) / loop.answers);
    note(name, 'answers', loop.answers / loop.seconds);
    const paced = await load.rate({ seconds, rate });
    for (const figure of ['p50', 'p99', 'p999']) note(name, figure, paced[figure]);
    note(name, 'lost', loop.lost + paced.lost);
  });

/** Pages that ask, are held in vain, and ask again: what that costs at 10,000 pages every 25 s. */
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

/** A script of its own beside this one: what it shows goes on, its figures come back. */
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
  /** ms of what the next round has too */
  let again = 0;
  for (const server of EMBEDDED) {
    // peers are there to look at; ours and the yardstick are held against floors, and the more often the better
    if (round > 1 && server.peer) continue;
    const took =
      (await step(`round ${round}: ${server.name}, memory`, () => memory(server))) +
      (await step(`round ${round}: ${server.name}, answers`, () =>
        answers(server, { held: 10_000, rate: 1000, seconds: 4 }),
      ));
    if (!server.peer) again += took;
  }
  // three processes on one core, and half the rate: the machine's own pauses weigh more, so it is looked at for longer
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
const { markdown, svg, targets, missed } = report(figures, extra, machine, failures);
writeFileSync(here('results.md'), markdown);
writeFileSync(here('results.svg'), svg);
writeFileSync(here('results.json'), `${JSON.stringify({ machine, figures, extra }, null, 1)}\n`);
process.stdout.write(markdown);
say('written: bench/results.md, results.svg, results.json');
if (process.argv.includes('--readme')) {
  const file = here('../README.md');
  const between = `<!-- bench -->\n${targets}\n<!-- /bench -->`;
  writeFileSync(
    file,
    readFileSync(file, 'utf8').replace(/<!-- bench -->[\s\S]*<!-- \/bench -->/, () => between),
  );
  say('written: the table in README.md');
}
process.exit(missed.length + failures.length > 0 ? 1 : 0);
