/** `npm run bench`: every server, the same load, one machine, one run. See README.md for what the figures mean. */
import { execFileSync } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { report } from './report.js';

const here = path => fileURLToPath(new URL(path, import.meta.url));
if (!existsSync(here('node_modules/faye')))
  execFileSync('npm', ['ci', '--no-audit', '--no-fund'], { cwd: here('.'), stdio: 'inherit' });
const servers = await import('./servers.js');
const { EMBEDDED, OVER_REDIS, cpu, has, rss, startLoad, startRedis, startTagwait, stop } = servers;

const rounds = Number(process.env.BENCH_ROUNDS ?? 3);
/** A round begins only while it can still end in time. */
const LONGEST = Number(process.env.BENCH_MINUTES ?? 14) * 60_000;
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

/** Starts a server and a load for it, and ends both whatever happens. */
async function against(start, protocol, work) {
  const server = await start();
  const load = startLoad();
  try {
    const { ports, setPort } = server;
    await load.setup({ protocol, ports, setPort, from: 1 });
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
      await sleep(500);
      note(name, `rss${count}`, (rss(server) - before) / count);
    }
  });

/** What an answer costs, and how late it comes. */
const answers = ({ name, protocol, start }, { held, rate }) =>
  against(start, protocol, async (server, load) => {
    await load.hold({ count: held });
    await load.loop({ count: 6000 });
    const before = cpu(server);
    const loop = await load.loop({ count: 12_000 });
    note(name, 'cpu', (cpu(server) - before) / loop.answers);
    note(name, 'answers', loop.answers / loop.seconds);
    const paced = await load.rate({ seconds: 4, rate });
    for (const figure of ['p50', 'p99', 'p999']) note(name, figure, paced[figure]);
    note(name, 'lost', loop.lost + paced.lost);
  });

/** Pages that ask, are held in vain, and ask again: what that costs at 10,000 pages every 25 s. */
async function idle(name, protocol, start, redis) {
  await against(start, protocol, async (server, load) => {
    const hold = 5;
    await load.hold({ count: 10_000, hold });
    await sleep(hold * 1000);
    const calls = () => (redis ? Number(/calls:(\d+)/.exec(redis.cli('INFO', 'stats'))?.[1] ?? 0) : 0);
    const commands = () =>
      redis ? Number(/total_commands_processed:(\d+)/.exec(redis.cli('INFO', 'stats'))[1]) : calls();
    await load.mark();
    const [spent, asked] = [cpu(server), commands()];
    await sleep(2 * hold * 1000);
    const { polls } = await load.polls();
    note(name, 'idle', ((cpu(server) - spent) / polls) * (10_000 / 25) * 1e-4);
    if (redis) note(name, 'commands', (commands() - asked - 1) / polls);
  });
}

/** Polls a second around something that happens to a node on which all pages are. */
async function storm(happens, seconds, hold = 25) {
  const redis = await startRedis();
  const env = { TAGWAIT_REDIS_URL: redis.url, TAGWAIT_HOLD: String(hold), TAGWAIT_DRAIN: '10' };
  const nodes = [await startTagwait(env), await startTagwait(env)];
  const load = startLoad();
  try {
    await load.setup({
      protocol: 'tagwait',
      ports: nodes.map(({ ports }) => ports[0]),
      setPort: nodes[1].setPort,
      from: 1,
    });
    await load.hold({ count: 10_000 });
    await sleep(2000);
    await load.mark();
    const at = Date.now();
    happens(nodes[0].children[0]);
    let back;
    while (Date.now() - at < seconds * 1000) {
      await sleep(250);
      if (Date.now() - at > 1000 && !back && (await load.held()) === 10_000) back = (Date.now() - at) / 1000;
    }
    const perSecond = new Map((await load.polls()).perSecond);
    const first = Math.floor(at / 1000);
    const polls = Array.from({ length: seconds }, (_, second) => perSecond.get(first + second) ?? 0);
    return { back, polls };
  } finally {
    await load.end();
    for (const node of nodes) await stop(node);
    await stop({ children: [redis.child] });
  }
}

/** 60,000 held: workers that share a port, and a load process for each 15,000 pages. */
async function many(workers, total) {
  const redis = await startRedis();
  const env = { TAGWAIT_REDIS_URL: redis.url, TAGWAIT_WORKERS: String(workers) };
  const server = await startTagwait(env, undefined);
  const loads = Array.from({ length: Math.ceil(total / 15_000) }, () => startLoad({ pinned: false }));
  try {
    const [master] = server.children;
    const pids = () =>
      execFileSync('pgrep', ['-P', String(master.pid)], { encoding: 'utf8' })
        .trim()
        .split('\n')
        .map(pid => ({ pid: Number(pid) }));
    const before = rss({ children: pids() });
    await Promise.all(
      loads.map(async (load, index) => {
        const { ports, setPort } = server;
        await load.setup({ protocol: 'tagwait', ports, setPort, from: 1 + 2 * index, name: `${index}-` });
        await load.hold({ count: total / loads.length });
      }),
    );
    const held = (await Promise.all(loads.map(load => load.held()))).reduce((sum, one) => sum + one, 0);
    const { lost } = await loads[0].rate({ seconds: 2, rate: 200 });
    return { workers, held, rss: (rss({ children: pids() }) - before) / held, lost };
  } finally {
    await Promise.all(loads.map(load => load.end()));
    await stop(server);
    await stop({ children: [redis.child] });
  }
}

say(
  `${rounds} rounds of ${EMBEDDED.length + OVER_REDIS.length} servers${has.nchan ? '' : ', without nchan: nginx has no such module here'}`,
);
const single = { redis: undefined };
for (let round = 1; round <= rounds; round++) {
  const started = performance.now();
  for (const server of EMBEDDED) {
    say(`round ${round}: ${server.name}, memory`);
    await memory(server);
    say(`round ${round}: ${server.name}, answers`);
    await answers(server, { held: 10_000, rate: 1000 });
  }
  for (const server of OVER_REDIS) {
    say(`round ${round}: ${server.name}`);
    await answers(server, { held: 5000, rate: 500 });
  }
  const took = performance.now() - started;
  if (performance.now() - began + took > LONGEST - 150_000) break;
}

say('idle pages');
await idle('bare node:http, no checks', 'bare', EMBEDDED[0].start);
await idle('tagwait', 'tagwait', EMBEDDED[1].start);
const extra = { storms: {}, many: [] };
if (has.redis) {
  single.redis = await startRedis();
  await idle(
    'tagwait, two nodes + Redis',
    'tagwait',
    () => startTagwait({ TAGWAIT_REDIS_URL: single.redis.url }),
    single.redis,
  );
  await stop({ children: [single.redis.child] });
  say('a node is killed');
  extra.storms.killed = await storm(child => child.kill('SIGKILL'), 35);
  say('a node is stopped');
  extra.storms.stopped = await storm(child => child.kill('SIGTERM'), 35);
  for (const [workers, total] of [
    [1, 15_000],
    [4, 60_000],
  ]) {
    say(`${total} held by ${workers} worker${workers > 1 ? 's' : ''}`);
    extra.many.push(await many(workers, total));
  }
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
const { markdown, svg, missed } = report(figures, extra, machine);
writeFileSync(here('results.md'), markdown);
writeFileSync(here('results.svg'), svg);
writeFileSync(here('results.json'), `${JSON.stringify({ machine, figures, extra }, null, 1)}\n`);
process.stdout.write(markdown);
say('written: bench/results.md, results.svg, results.json');
process.exit(missed.length > 0 ? 1 : 0);
