/**
 * What a page costs through the whole path: nginx with TLS and HTTP/2, as deploy/nginx.conf has it, before tagwait; beside
 * the same pages on tagwait alone. Each page has a connection of its own.
 *
 *   npm run path -- [pages, 3000]
 *   npm run path -- --settings      memory with each change of variants.js
 *
 * Prints memory a page (processes and kernel), and CPU time an answer. With BENCH_JSON=file it also writes its figures to
 * that file. Takes about a minute; with --settings, two.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { hasNginx, replaced, SHIPPED, startNginx } from './front.js';
import { inPairs, ratios } from './pairs.js';
import { atRest, cpu, endAll, rss, startControl, startLoad, startTagwait, stop } from './servers.js';
import { interval, median } from './statistics.js';
import { UNBUFFERED, VARIANTS } from './variants.js';

const SETTINGS = process.argv.includes('--settings');
const PAGES = Number(process.argv.slice(2).find(word => /^\d+$/.test(word)) ?? (SETTINGS ? 1500 : 3000));
/** Pages before the first measurement, so that code is compiled and pools are filled. */
const WARM = 200;
const PAIRS = 10;
const ANSWERS = 2000;

process.on('exit', endAll);
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1));
setTimeout(() => process.exit(3), 290_000).unref();

const began = performance.now();
const say = text =>
  process.stderr.write(`${((performance.now() - began) / 1000).toFixed(1).padStart(6)} s  ${text}\n`);

/** Starts tagwait, nginx before it if `conf` is given, and a load process. */
async function open(conf) {
  const node = await startTagwait({ TAGWAIT_TRUST_PROXY: conf ? '1' : '0', TAGWAIT_HOLD: '300' });
  const nginx = conf && (await startNginx(node.ports[0], conf));
  const load = startLoad();
  const { ports } = nginx ?? node;
  await load.setup({ protocol: 'browser', ports, setPort: node.setPort, http2: nginx !== undefined });
  const close = async () => {
    await load.end();
    if (nginx) await stop(nginx);
    await stop(node);
  };
  return { node, nginx, load, close };
}

const parts = ({ node, nginx }) => ({ node, ...(nginx && { nginx }) });
const each = (one, figure) =>
  Object.fromEntries(Object.entries(parts(one)).map(([name, server]) => [name, figure(server)]));
const minus = (after, before, by) =>
  Object.fromEntries(Object.keys(after).map(name => [name, (after[name] - before[name]) / by]));

async function rested(one) {
  for (const server of Object.values(parts(one))) await atRest(server);
}

/** Holds the pages. @returns KiB a page: of each process, and of the kernel for one socket */
async function hold(one, pages) {
  await one.load.hold({ count: WARM });
  await rested(one);
  const before = each(one, rss);
  const kernel = inKernel();
  await one.load.hold({ count: WARM + pages });
  await rested(one);
  const after = inKernel();
  return {
    ...minus(each(one, rss), before, pages),
    // KiB of objects a socket: both ends of each connection are on this machine
    socket: kernel && (after.bytes - kernel.bytes) / 1024 / (after.sockets - kernel.sockets),
    buffers: (after.buffers - kernel.buffers) / pages,
  };
}

/** What the kernel has for each socket: the connection, its inode and entry, its file and its place in epoll's list. */
const OBJECTS = ['TCP', 'sock_inode_cache', 'lsm_inode_cache', 'dentry', 'filp', 'eventpoll_epi'];
function inKernel() {
  const stat = readFileSync('/proc/net/sockstat', 'utf8');
  const [, sockets, pages] = /^TCP: inuse (\d+) .* mem (\d+)/m.exec(stat);
  let bytes = 0;
  try {
    for (const [, name, active, , size] of readFileSync('/proc/slabinfo', 'utf8').matchAll(
      /^(\S+) +(\d+) +(\d+) +(\d+)/gm,
    ))
      if (OBJECTS.includes(name)) bytes += active * size;
  } catch {
    // only root may read it
    bytes = Number.NaN;
  }
  return { sockets: Number(sockets), bytes, buffers: pages * 4 };
}

/** CPU time an answer, µs, of each process, in closed loop. */
async function answers(one, count = ANSWERS) {
  const before = each(one, cpu);
  const loop = await one.load.loop({ count });
  if (loop.lost > 0) throw new Error(`${loop.lost} answers lost`);
  const spent = minus(each(one, cpu), before, loop.answers);
  return { ...spent, all: spent.node + (spent.nginx ?? 0), perSecond: loop.answers / loop.seconds };
}

/** @returns what a page costs on each, and the pairs of answers */
async function compare() {
  const [path, alone] = [await open(SHIPPED), await open()];
  const held = {};
  for (const [name, one] of Object.entries({ alone, path })) {
    say(`${name}: ${PAGES} pages`);
    held[name] = await hold(one, PAGES);
    const first = each(one, rss);
    await one.load.loop({ count: 10_000 });
    await rested(one);
    // after some answers nginx has more; what tagwait has more is not a page's: its code is compiled
    if (one.nginx) held[name].nginx += (rss(one.nginx) - first.nginx) / PAGES;
  }
  const pairs = await inTurn(path, alone);
  for (const one of [path, alone]) await one.close();
  return { held, pairs };
}

/** CPU time of answers in pairs of short windows, `a` over `b`. */
async function inTurn(a, b) {
  say(`answers, ${PAIRS} pairs`);
  const control = startControl();
  const { pairs } = await inPairs([() => answers(a), () => answers(b)], {
    pairs: PAIRS,
    control: control.control,
  });
  await control.end();
  return pairs;
}

/** KiB a page of nginx, after each page has had two answers on average. */
async function kibOf(conf) {
  const one = await open(conf);
  try {
    const { nginx } = await hold(one, PAGES);
    const first = rss(one.nginx);
    await one.load.loop({ count: 2 * PAGES });
    await rested(one);
    return nginx + (rss(one.nginx) - first) / PAGES;
  } finally {
    await one.close();
  }
}

/** nginx's memory with each of VARIANTS, and its CPU time with and without buffering. */
async function settings() {
  console.log(`| nginx.conf | nginx, KiB a page |
| --- | --- |`);
  for (const [name, ...changes] of VARIANTS)
    console.log(`| ${name} | ${shown(await kibOf(replaced(SHIPPED, ...changes)))} |`);
  const [buffered, unbuffered] = [await open(SHIPPED), await open(replaced(SHIPPED, ...UNBUFFERED))];
  for (const { load } of [buffered, unbuffered]) {
    await load.hold({ count: PAGES });
    await load.loop({ count: 10_000 });
  }
  const pairs = await inTurn(buffered, unbuffered);
  console.log(`\nCPU time of nginx an answer, buffered over unbuffered: × ${ranged(ratios(pairs, 'nginx'))}`);
  for (const one of [buffered, unbuffered]) await one.close();
}

const shown = number => (Number.isFinite(number) ? number.toPrecision(3) : '–');
function ranged(list) {
  const { value, low, high } = interval(list);
  return `${shown(value)} <small>(${shown(low)}–${shown(high)})</small>`;
}

function table({ held: { alone, path }, pairs }) {
  const of = (side, figure) => median(pairs.map(pair => pair[side][figure]));
  const kernel = ({ socket, buffers }, sockets) => socket * sockets + buffers;
  const rows = [
    ['KiB a page: tagwait', alone.node, path.node],
    ['… nginx', 0, path.nginx],
    ['… kernel', kernel(alone, 1), kernel(path, 3)],
    ['… together', alone.node + kernel(alone, 1), path.node + path.nginx + kernel(path, 3)],
    ['CPU µs an answer: tagwait', of('b', 'node'), of('a', 'node')],
    ['… nginx', 0, of('a', 'nginx')],
    ['… together', of('b', 'all'), of('a', 'all')],
  ];
  return `${PAGES} pages:

| | tagwait alone | through nginx |
| --- | --- | --- |
${rows.map(([name, ...values]) => `| ${name} | ${values.map(value => (value === 0 ? '' : shown(value))).join(' | ')} |`).join('\n')}

The kernel has ${shown(alone.socket)} and ${shown(path.socket)} KiB for each socket; alone there is one a page, with nginx three.
CPU time, through nginx over alone: × ${ranged(ratios(pairs, 'all'))}
`;
}

if (!hasNginx) {
  say('nginx is not here');
  process.exit(1);
}
if (SETTINGS) await settings();
else {
  const found = await compare();
  if (process.env.BENCH_JSON) writeFileSync(process.env.BENCH_JSON, JSON.stringify(found));
  process.stdout.write(table(found));
}
process.exit(0);
