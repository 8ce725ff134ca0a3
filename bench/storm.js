/**
 * Reconnect storms: pages on two nodes with Redis, behind a load balancer with health checks. One node is killed and comes
 * back, then both are restarted in turn. Draws polls per second into storm.svg; no page may miss a value.
 *
 *   npm run storm -- [pages]
 *
 * With BENCH_JSON=file it also writes its figures to that file, for run.js.
 */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { Agent, get } from 'node:http';
import { connect, createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { TAGWAIT } from './command.js';

const PAGES = Number(process.argv[2] ?? 10_000);
const HOLD = 16;
const DRAIN = 8;
const BUCKET = 250;
setTimeout(() => fail('it took more than three minutes'), 175_000).unref();

const children = new Set();
const started = performance.now();
const seconds = () => (performance.now() - started) / 1000;
const say = text => process.stderr.write(`${seconds().toFixed(1).padStart(6)} s  ${text}\n`);
function fail(text) {
  say(text);
  for (const child of children) child.kill('SIGKILL');
  process.exit(1);
}

const freePort = async () => {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  return port;
};

function run(command, args, env) {
  const child = spawn(command, args, {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  children.add(child);
  child.once('exit', () => children.delete(child));
  return child;
}

async function startRedis() {
  const port = await freePort();
  run('redis-server', ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--dir', '/tmp']);
  for (;;) {
    try {
      execFileSync('redis-cli', ['-p', String(port), 'ping'], { stdio: 'ignore' });
      return `redis://127.0.0.1:${port}`;
    } catch {
      await sleep(50);
    }
  }
}

/** A node that can be killed, stopped and restarted on its ports. `up`: it accepts polls, as a health check would find. */
async function newNode(redis) {
  const node = { port: await freePort(), internal: await freePort(), up: false };
  node.start = async () => {
    node.process = run(process.execPath, TAGWAIT, {
      TAGWAIT_REDIS_URL: redis,
      TAGWAIT_PUBLIC_HOST: '127.0.0.1',
      TAGWAIT_PUBLIC_PORT: String(node.port),
      TAGWAIT_INTERNAL_PORT: String(node.internal),
      TAGWAIT_HOLD: String(HOLD),
      TAGWAIT_DRAIN: String(DRAIN),
      TAGWAIT_MAX_HELD_PER_IP: '0',
      TAGWAIT_MAX_POLLS_PER_IP: '0',
      TAGWAIT_LOG_LEVEL: 'error',
    });
    await once(node.process.stdout, 'data');
    node.up = true;
  };
  node.end = async signal => {
    node.up = false;
    const ended = once(node.process, 'exit');
    node.process.kill(signal);
    await ended;
  };
  await node.start();
  return node;
}

// --- Pages, as client/tagwait.js behaves.

const RETRY = 250;
const SPREAD = 1000;
const polls = [];
const answers = { success: 0, timeout: 0, moved: 0, other: 0, none: 0 };
const pages = [];
let nodes = [];

function count() {
  const bucket = Math.floor((performance.now() - started) / BUCKET);
  polls[bucket] = (polls[bucket] ?? 0) + 1;
}

const choose = () => {
  const living = nodes.filter(node => node.up);
  return living[Math.floor(Math.random() * living.length)] ?? nodes[0];
};

/** @param first the poll is the first one, or the first after a failure, and has a short hold as in client/tagwait.js */
function ask(page, short) {
  count();
  page.socket ??= open(page);
  page.short = short;
  page.asked = performance.now();
  page.text = '';
  page.socket.write(
    `GET /status/get?key=${page.key}&since=${page.since}${short ? '&hold=1' : ''} HTTP/1.1\r\nHost: x\r\n\r\n`,
  );
}

function open(page) {
  const socket = connect({ port: choose().port, host: '127.0.0.1', localAddress: page.from, noDelay: true });
  const gone = () => {
    if (page.socket !== socket) return;
    page.socket = undefined;
    answers.none++;
    again(page, page.delay);
  };
  socket.on('error', () => {});
  socket.on('close', gone);
  socket.on('data', text => {
    if (page.socket !== socket) return;
    page.text += text.toString('latin1');
    const head = page.text.indexOf('\r\n\r\n');
    const length = Number(/content-length: (\d+)/i.exec(page.text)?.[1]);
    if (head < 0 || page.text.length < head + 4 + length) return;
    if (/\r\nconnection: close/i.test(page.text)) {
      page.socket = undefined;
      socket.end();
    }
    hear(page, JSON.parse(page.text.slice(head + 4)));
  });
  return socket;
}

function hear(page, answer) {
  answers[answer.message in answers ? answer.message : 'other']++;
  if (answer.code > -2) {
    page.delay = RETRY;
    page.since = answer.cursor || page.since;
    if (answer.code === 0) page.heard.push(...(answer.earlier ?? []), answer.data);
    return ask(page, false);
  }
  again(page, answer.retry);
}

function again(page, ms) {
  const wait = ms + Math.random() * SPREAD;
  if (page.delay < 16_000) page.delay *= 2;
  setTimeout(() => ask(page, true), wait);
}

// --- Backends.

const agent = new Agent({ keepAlive: true, maxSockets: 64 });
const held = node =>
  new Promise(resolve => {
    get({ port: node.internal, host: '127.0.0.1', path: '/metrics', agent }, async response => {
      let text = '';
      for await (const part of response) text += part;
      resolve(Number(/^tagwait_held (\d+)/m.exec(text)?.[1] ?? 0));
    }).on('error', () => resolve(0));
  });

async function allHeld() {
  const began = seconds();
  for (;;) {
    const counts = await Promise.all(nodes.map(node => (node.up ? held(node) : 0)));
    if (counts.reduce((sum, one) => sum + one, 0) >= PAGES * 0.999) return seconds() - began;
    await sleep(200);
  }
}

async function set(key, value) {
  const node = choose();
  for (;;) {
    const response = await fetch(`http://127.0.0.1:${node.internal}/status/set`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ key, value, id: `${value}` }),
    }).catch(() => undefined);
    if (response?.status === 200) return;
    await sleep(100);
  }
}

let value = 0;
/** Sets one more value for each page. No page may miss any of them. */
async function tellAll() {
  value++;
  for (let first = 0; first < PAGES; first += 100)
    await Promise.all(pages.slice(first, first + 100).map(page => set(page.key, value)));
  for (let time = 0; time < 150; time++) {
    if (pages.every(page => page.heard.length >= value)) break;
    await sleep(200);
  }
  const lost = pages.filter(
    page => page.heard.length !== value || page.heard.some((one, at) => one !== at + 1),
  );
  if (lost.length > 0)
    fail(`${lost.length} pages did not get a value that was set: ${JSON.stringify(lost[0].heard)}`);
}

// --- The scenario.

const events = [];
function mark(text) {
  say(text);
  events.push({ at: seconds(), text });
}
/** The largest number of polls in a second after this time. */
function peak(from) {
  let most = 0;
  const window = 1000 / BUCKET;
  for (let first = Math.floor((from * 1000) / BUCKET); first < polls.length; first++) {
    let sum = 0;
    for (let bucket = first; bucket < first + window; bucket++) sum += polls[bucket] ?? 0;
    most = Math.max(most, sum);
  }
  return most;
}

const rows = [];
async function part(name, happens) {
  const from = seconds();
  const back = await happens();
  rows.push({ name, peak: peak(from), back });
}

const redis = await startRedis();
nodes = [await newNode(redis), await newNode(redis)];
const [one, other] = nodes;
say(`${PAGES} pages ask at once`);
events.push({ at: seconds(), text: 'all ask' });
await part('all ask at one moment, held for the first time', async () => {
  for (let number = 0; number < PAGES; number++) {
    // one address has too few ports for all pages
    const page = {
      key: `k${number}`,
      from: `127.0.1.${1 + (number % 8)}`,
      since: '',
      heard: [],
      delay: RETRY,
    };
    pages.push(page);
    ask(page, false);
  }
  return allHeld();
});
await part('their time-outs, two rounds', async () => {
  await sleep(2 * HOLD * 1000);
  return 0;
});
mark('a node is killed');
await part('a node is killed', async () => {
  await one.end('SIGKILL');
  return allHeld();
});
await sleep(HOLD * 1000);
await one.start();
mark('it is back');
await sleep(HOLD * 500);
await part('rolling restart', async () => {
  const began = seconds();
  for (const node of [one, other]) {
    mark(`node ${nodes.indexOf(node) + 1} restarts`);
    await node.end('SIGTERM');
    await node.start();
    await sleep(2000);
  }
  await allHeld();
  return seconds() - began;
});
await sleep(HOLD * 1000);
mark('a value for each');
await part('a value for each page', async () => {
  const began = seconds();
  await tellAll();
  return seconds() - began;
});

writeFileSync(new URL('storm.svg', import.meta.url), plot());
if (process.env.BENCH_JSON)
  writeFileSync(process.env.BENCH_JSON, JSON.stringify({ pages: PAGES, hold: HOLD, drain: DRAIN, rows }));
process.stdout.write(`
${PAGES.toLocaleString('en')} pages, held for ${HOLD} s, drain ${DRAIN} s, two nodes; evenly spread they would ask ${Math.round(PAGES / HOLD).toLocaleString('en')} times a second.

| | most polls in a second | s until all are held again |
| --- | --- | --- |
${rows.map(({ name, peak: most, back }) => `| ${name} | ${most.toLocaleString('en')} | ${back.toFixed(1)} |`).join('\n')}

Pages lost: 0. Answers: ${JSON.stringify(answers)}.
`);
for (const child of children) child.kill('SIGKILL');
process.exit(0);

function plot() {
  const [width, height, left, bottom, top] = [960, 320, 60, 40, 40];
  const end = seconds();
  const rates = Array.from({ length: polls.length }, (_, bucket) => ((polls[bucket] ?? 0) * 1000) / BUCKET);
  const most = Math.max(...rates);
  const x = at => left + (at / end) * (width - left - 10);
  const y = rate => height - bottom - (rate / most) * (height - bottom - top);
  const line = rates
    .map((rate, at) => `${x((at * BUCKET) / 1000).toFixed(1)},${y(rate).toFixed(1)}`)
    .join(' ');
  const steps = [0, 0.25, 0.5, 0.75, 1].map(share => Math.round(most * share));
  const marks = events.map(({ at, text }, index) =>
    `<line x1="${x(at)}" x2="${x(at)}" y1="${top}" y2="${height - bottom}" stroke="#c33" stroke-dasharray="3 3"/>` +
      x(at) <
    860
      ? `<text x="${x(at) + 3}" y="${top - 22 + (index % 2) * 14}" fill="#c33">${text}</text>`
      : `<text x="${x(at) - 3}" y="${top - 22 + (index % 2) * 14}" fill="#c33" text-anchor="end">${text}</text>`,
  );
  const scale = steps.map(
    rate =>
      `<line x1="${left}" x2="${width - 10}" y1="${y(rate)}" y2="${y(rate)}" stroke="#ddd"/>` +
      `<text x="${left - 6}" y="${y(rate) + 4}" text-anchor="end">${rate.toLocaleString('en')}</text>`,
  );
  const times = Array.from({ length: Math.floor(end / 10) + 1 }, (_, ten) => ten * 10).map(
    at => `<text x="${x(at)}" y="${height - bottom + 16}" text-anchor="middle">${at}</text>`,
  );
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="11" fill="#333">
<title>Polls a second around a node's death and a rolling restart</title>
<rect width="${width}" height="${height}" fill="#fff"/>
${scale.join('\n')}
${marks.join('\n')}
<polyline points="${line}" fill="none" stroke="#246" stroke-width="1.5"/>
${times.join('\n')}
<text x="${width / 2}" y="${height - 6}" text-anchor="middle">seconds; polls a second of ${PAGES.toLocaleString('en')} pages, by quarters of a second</text>
</svg>
`;
}
