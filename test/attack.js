/**
 * 10,000 idle attackers, or one that sends expensive requests, and 1,000 honest pages on one node, all on this machine's
 * loopback; stops by itself.
 *
 *     npm run attack
 *
 * An attacker connects and says nothing, or sends one header a second, or asks once and stays, or holds a poll of a key
 * that nobody sets; when its connection is closed it comes back. One address sends, within its limit, the most expensive
 * requests known (expensive.js), each on a connection of its own; a program on this machine sends those of the internal
 * port. An honest page polls its key again and again, and some new ones come every second. A backend sets a hundred
 * values a second. Measured: from when a set was due until its page has it, from a new page's first byte until its
 * answer, and what the service has open and in memory before, during and after.
 */
import { fork, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { Agent, get, request } from 'node:http';
import { connect } from 'node:net';
import { constants, cpus, setPriority } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { TAGWAIT } from '../bench/command.js';
import { until } from '../bench/until.js';
import { EXPENSIVE } from './expensive.js';

const ATTACKERS = Number(process.env.ATTACKERS ?? 10_000);
const EXPENSIVE_A_SECOND = 200;
const EXPENSIVE_SETS_A_SECOND = 50;
const PAGES = 1000;
const SETS_A_SECOND = 100;
const NEW_A_SECOND = 20;
const SECONDS = 25;
const ALLOWED_P99 = 100;
/** For crowds to come and go: looked for seldom, because the looking is load too. */
const SLOWLY = { within: 60_000, every: 200 };
/** Attackers of one process: each needs a descriptor, and so does what the process is made of. */
const PER_PROCESS = 2500;

const now = () => performance.timeOrigin + performance.now();
const roles = { attack, expensive, pages, newcomers };
const [role, ...given] = process.argv.slice(2);
// what the main process started ends with it
process.once('disconnect', () => process.exit());
if (role) await roles[role](...given);
else await main();

/** @param many number of attackers, from ten other addresses */
async function attack(url, many, network) {
  // theirs would be other machines: what they cost themselves is not to be had from the service's core
  setPriority(constants.priority.PRIORITY_LOW);
  const { hostname, port } = new URL(url);
  const request = (query, end = '\r\n') =>
    `GET /status/get?${query} HTTP/1.1\r\nHost: attack.example\r\n${end}`;
  let connected = 0;
  const come = number => {
    const localAddress = `127.${network}.0.${1 + (number % 10)}`;
    const socket = connect({ host: hostname, port: Number(port), localAddress });
    let drip;
    socket.on('error', () => {});
    socket.on('connect', () => {
      connected++;
      if (number % 4 === 1) {
        socket.write(request('key=slow', ''));
        drip = setInterval(() => socket.write('X-Slow: 1\r\n'), 1000);
      }
      if (number % 4 === 2) socket.write(request(`key=stays-${network}-${number}&hold=0`));
      if (number % 4 === 3) socket.write(request(`key=held-${network}-${number}`));
      socket.once('close', () => connected--);
    });
    socket.on('data', () => number % 4 === 3 && socket.write(request(`key=held-${network}-${number}`)));
    socket.on('close', () => {
      clearInterval(drip);
      setTimeout(come, 500 + Math.random() * 1000, number);
    });
  };
  for (let number = 0; number < many; number++) {
    come(number);
    if (number % 50 === 49) await sleep(20);
  }
  setInterval(() => process.send({ connected }), 500);
}

/** Requests of each expensive kind of a port in turn, from one address; reports how many were answered. */
function expensive(port, url, aSecond) {
  setPriority(constants.priority.PRIORITY_LOW);
  const { hostname, port: number } = new URL(url);
  const kinds = EXPENSIVE.filter(kind => kind.port === port);
  const began = now();
  let sent = 0;
  let answered = 0;
  const send = packets => {
    const socket = connect({
      host: hostname,
      port: Number(number),
      localAddress: '127.150.0.1',
      noDelay: true,
    });
    socket.on('error', () => {});
    socket.once('data', () => answered++);
    for (const packet of packets) socket.write(packet, 'latin1');
    socket.setTimeout(5000, () => socket.destroy());
  };
  setInterval(() => {
    for (const due = ((now() - began) / 1000) * aSecond; sent < due; sent++)
      send(kinds[sent % kinds.length].packets);
  }, 5);
  setInterval(() => process.send({ connected: answered }), 500);
}

/** Asks once. @returns the answer, or nothing when the connection broke */
function ask(url, query, options) {
  return new Promise(resolve => {
    get(`${url}/status/get?${new URLSearchParams(query)}`, options, async response => {
      let text = '';
      for await (const part of response) text += part;
      resolve(JSON.parse(text));
    }).on('error', () => resolve(undefined));
  });
}

/** Pages that each wait for a value, a hundred to an address. */
async function pages(url, many) {
  let lost = 0;
  const live = async number => {
    const agent = new Agent({
      keepAlive: true,
      maxSockets: 1,
      localAddress: `127.200.0.${1 + (number % 10)}`,
    });
    for (let since = ''; ; ) {
      const answer = await ask(url, { key: `page-${number}`, since }, { agent });
      if (answer?.code === 0)
        process.send({ latency: now() - answer.data, values: 1 + (answer.earlier?.length ?? 0) });
      else if (answer?.code !== -1) process.send({ faults: ++lost });
      if (answer?.retry) await sleep(answer.retry);
      since = answer?.cursor ?? since;
    }
  };
  for (let number = 0; number < many; number++) {
    live(number);
    if (number % 50 === 49) await sleep(20);
  }
}

/** Pages that come for the first time: a new connection each. */
function newcomers(url, aSecond) {
  let number = 0;
  setInterval(async () => {
    const began = now();
    const localAddress = `127.201.0.${1 + (number % 10)}`;
    const answer = await ask(url, { key: `new-${number++}`, hold: 0 }, { agent: false, localAddress });
    process.send(answer?.code === -1 ? { latency: now() - began } : { faults: 1 });
  }, 1000 / aSecond);
}

/** As if nothing else ran on this machine, as far as that can be had; what is started from here has it too. */
function prefer() {
  try {
    setPriority(constants.priority.PRIORITY_HIGHEST);
    return true;
  } catch {
    return false;
  }
}

async function main() {
  const end = setTimeout(() => fail('took too long'), 240_000);
  const children = [];
  const preferred = prefer();
  // the service has a core to itself, as a node would; its load has the others
  const pinned =
    cpus().length > 1 && spawnSync('taskset', ['-pc', `1-${cpus().length - 1}`, process.pid]).status === 0;
  const command = [process.execPath, ...TAGWAIT];
  if (pinned) command.unshift('taskset', '-c', '0');
  const service = spawn(command[0], command.slice(1), {
    env: { PATH: process.env.PATH, TAGWAIT_PUBLIC_PORT: '0', TAGWAIT_INTERNAL_PORT: '0', TAGWAIT_DRAIN: '0' },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  function fail(why) {
    console.error(`attack: ${why}`);
    for (const child of [...children, service]) child.kill('SIGKILL');
    process.exit(1);
  }
  service.once('exit', code => fail(`the service ended with ${code}`));
  const [line] = await once(service.stdout, 'data');
  const [publicUrl, internalUrl] = String(line).match(/http:\S+/g);

  const start = (...args) => {
    const child = fork(fileURLToPath(import.meta.url), args.map(String), { serialization: 'advanced' });
    const got = { latencies: [], values: 0, faults: 0, connected: 0 };
    child.on('message', ({ latency, values = 0, faults = 0, connected }) => {
      if (latency !== undefined) got.latencies.push(latency);
      got.values += values;
      got.faults += faults && 1;
      if (connected !== undefined) got.connected = connected;
    });
    children.push(child);
    return { child, got };
  };
  const usage = () => {
    const of = existsSync(`/proc/${service.pid}/fd`);
    const status = of ? readFileSync(`/proc/${service.pid}/status`, 'utf8') : '';
    const open = of ? readdirSync(`/proc/${service.pid}/fd`).length : 0;
    return { open, megabytes: Math.round(Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? 0) / 1024) };
  };
  const backend = new Agent({ keepAlive: true });
  /** With an id, so that it can be tried again when the connection was closed just then. */
  function set(key, value, tries = 3) {
    const options = { method: 'POST', agent: backend, headers: { 'Content-Type': 'application/json' } };
    const asked = request(`${internalUrl}/status/set`, options, response => {
      response.resume();
      if (response.statusCode !== 200) fail(`a set was answered ${response.statusCode}`);
    });
    asked.on('error', error => (tries > 0 ? set(key, value, tries - 1) : fail(error.message)));
    asked.end(JSON.stringify({ key, value, id: `${value}` }));
  }
  const heldNow = () =>
    new Promise((resolve, reject) => {
      get(`${internalUrl}/nodes`, { agent: false }, async response => {
        let text = '';
        for await (const part of response) text += part;
        resolve(JSON.parse(text).nodes[0].held);
      }).on('error', reject);
    });
  let sets = 0;
  async function setForAWhile() {
    const began = now();
    for (let count = 0; count < SECONDS * SETS_A_SECOND; count++) {
      const due = began + (count * 1000) / SETS_A_SECOND;
      if (due > now()) await sleep(due - now());
      sets++;
      set(`page-${Math.floor(Math.random() * PAGES)}`, due);
    }
    // the last of them are on their way
    for (const end = now() + 5000; honest.got.values < sets && now() < end; ) await sleep(50);
  }
  const rows = [];
  const percentile = (all, share) =>
    [...all].sort((a, b) => a - b)[Math.floor((all.length - 1) * share)] ?? Number.NaN;
  const forget = () => {
    honest.got.latencies.length = fresh.got.latencies.length = honest.got.values = sets = 0;
    honest.got.faults = fresh.got.faults = 0;
  };
  /** What is seen from the last `forget` on. */
  const measure = async (name, attackers) => {
    await setForAWhile();
    const { open, megabytes } = usage();
    const times = all => [0.5, 0.99, 1].map(share => percentile(all, share).toFixed(1));
    rows.push([
      name,
      attackers(),
      ...times(honest.got.latencies),
      ...times(fresh.got.latencies),
      sets - honest.got.values,
      honest.got.faults + fresh.got.faults,
      open,
      megabytes,
    ]);
    console.error(`attack: ${name}: ${rows.at(-1).join(' ')}`);
    return (
      [honest, fresh].every(
        ({ got }) => percentile(got.latencies, 0.99) <= ALLOWED_P99 && got.faults === 0,
      ) && sets === honest.got.values
    );
  };

  const atRest = usage();
  console.error(`attack: ${PAGES} pages come to ${publicUrl}`);
  const honest = start('pages', publicUrl, PAGES);
  await until(async () => (await heldNow()) >= PAGES, 'all pages are held', SLOWLY);
  const fresh = start('newcomers', publicUrl, NEW_A_SECOND);
  forget();
  const calm = await measure('pages alone', () => 0);

  console.error(`attack: one address sends ${EXPENSIVE_A_SECOND} expensive requests a second`);
  const besides = async (port, url, aSecond, name) => {
    const one = start('expensive', port, url, aSecond);
    await until(() => one.got.connected > aSecond, 'expensive requests are answered', SLOWLY);
    forget();
    const good = await measure(name, () => 1);
    one.child.kill();
    return good;
  };
  const bounded = [
    await besides(
      'public',
      publicUrl,
      EXPENSIVE_A_SECOND,
      `and ${EXPENSIVE_A_SECOND} expensive requests a second from one address`,
    ),
    await besides(
      'internal',
      internalUrl,
      EXPENSIVE_SETS_A_SECOND,
      `and ${EXPENSIVE_SETS_A_SECOND} expensive requests a second to the internal port`,
    ),
  ].every(Boolean);

  console.error(`attack: ${ATTACKERS} attackers come`);
  const attackers = [];
  for (let left = ATTACKERS, network = 101; left > 0; left -= PER_PROCESS, network++)
    attackers.push(start('attack', publicUrl, Math.min(left, PER_PROCESS), network));
  const connected = () => attackers.reduce((sum, { got }) => sum + got.connected, 0);
  await until(() => connected() >= ATTACKERS * 0.97, 'the attackers are connected', SLOWLY);
  forget();
  const good = await measure('and attackers', connected);

  // closing ten thousand sockets at once delays requests that arrive just then
  forget();
  for (const { child } of attackers) child.kill();
  const alone = async () => (await heldNow()) <= PAGES + 5 && usage().open <= PAGES * 1.1;
  await until(alone, 'the attackers are gone', SLOWLY);
  await measure('they leave, and after', () => 0);
  for (const child of children) child.kill();
  await until(async () => (await heldNow()) === 0, 'nobody is held', SLOWLY);
  backend.destroy();
  // by itself: nobody asks for anything any more
  await sleep(10_000);
  const after = usage();

  console.log(
    [
      `Node ${process.version}, ${cpus().length} × ${cpus()[0]?.model}, the service on ${pinned ? 'one of them' : 'all'}${preferred ? ', before other processes' : ''}; at rest ${atRest.open} descriptors and ${atRest.megabytes} MB, ten seconds after all have left ${after.open} and ${after.megabytes} MB`,
      '',
      '| | attackers connected | set → page p50 ms | p99 | most | new page p50 ms | p99 | most | values lost | faults | descriptors | MB |',
      `|${' --- |'.repeat(12)}`,
      ...rows.map(row => `| ${row.join(' | ')} |`),
    ].join('\n'),
  );
  clearTimeout(end);
  service.removeAllListeners('exit');
  service.kill();
  await once(service, 'exit');
  if (!calm)
    fail(`this machine is busy: pages waited more than ${ALLOWED_P99} ms at p99 before any attacker came`);
  if (!bounded)
    fail(`expensive requests made honest pages wait more than ${ALLOWED_P99} ms at p99, or lose something`);
  if (!good) fail(`honest pages waited more than ${ALLOWED_P99} ms at p99, or lost something`);
  // compiled code and buffers of a node that has worked: not what a new one has, but what it had before the crowd
  const before = rows[2].at(-1);
  if (after.megabytes > before * 1.25)
    fail(`${after.megabytes} MB are kept, ${before} were before the crowd`);
  if (after.open > atRest.open + 5) fail(`${after.open} descriptors are open, ${atRest.open} were`);
}
