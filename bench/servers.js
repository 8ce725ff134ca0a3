/** The servers under test: how each is started, and which processes belong to it. */
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { TAGWAIT } from './command.js';
import { until } from './until.js';

const here = path => fileURLToPath(new URL(path, import.meta.url));
/** One core runs the server, the other one the load. On a machine with one core the figures mean little. */
const CORES = { server: '0', load: '1' };
const NCHAN = '/usr/lib/nginx/modules/ngx_nchan_module.so';

const running = new Set();
export const folder = mkdtempSync(join(tmpdir(), 'tagwait-bench-'));

/** Ends the processes that were started here. */
export function endRunning() {
  for (const child of running) child.kill('SIGKILL');
}

export function endAll() {
  endRunning();
  rmSync(folder, { recursive: true, force: true });
}

/** Starts a program on one core. */
export function start(core, program, words, { env = {}, stdio = ['ignore', 'pipe', 'pipe'] } = {}) {
  const pinned = existsSync('/usr/bin/taskset') && core !== undefined;
  const child = pinned
    ? spawn('taskset', ['-c', CORES[core], program, ...words], { env: { ...process.env, ...env }, stdio })
    : spawn(program, words, { env: { ...process.env, ...env }, stdio });
  running.add(child);
  child.output = '';
  child.over = new Promise(resolve => child.on('exit', resolve));
  void child.over.then(() => running.delete(child));
  child.stdout?.on('data', text => {
    child.output += text;
  });
  child.stderr?.on('data', text => {
    child.complaints = (child.complaints ?? '') + text;
  });
  return child;
}

export const freePort = () =>
  new Promise(resolve => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });

async function end(children, signal = 'SIGKILL') {
  for (const child of children) child.kill(signal);
  await Promise.all(children.map(child => child.over));
}

/**
 * A load process, as an object with its commands: `await load.loop({ seconds: 3 })`. Runs with the smallest young
 * generation: with the default of 16 MiB its own garbage collection delayed answers by up to 10 ms.
 */
export function startLoad({ pinned = true } = {}) {
  const child = start(
    pinned ? 'load' : undefined,
    process.execPath,
    ['--max-semi-space-size=1', here('load.js')],
    {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    },
  );
  const waiting = new Map();
  let last = 0;
  child.on('message', ({ id, result }) => {
    waiting.get(id)(result);
    waiting.delete(id);
  });
  return new Proxy(child, {
    get: (_, command) =>
      command === 'then'
        ? undefined
        : command === 'end'
          ? () => end([child])
          : more =>
              new Promise(resolve => {
                waiting.set(++last, resolve);
                child.send({ command, id: last, ...more });
              }),
  });
}

async function ofOurs(file, { env = {}, flags = [] } = {}) {
  const port = await freePort();
  const child = start('server', process.execPath, [...flags, here(`servers/${file}.js`)], {
    env: { PORT: String(port), NODE_ENV: 'production', ...env },
  });
  await until(() => child.output.includes('ready') || child.exitCode !== null, `${file} is ready`);
  return { children: [child], ports: [port], setPort: port };
}

/** The defaults, except the limits per address: all of the load comes from one address. */
export async function startTagwait(env = {}, core = 'server') {
  const child = start(core, process.execPath, TAGWAIT, {
    env: {
      TAGWAIT_PUBLIC_HOST: '127.0.0.1',
      TAGWAIT_PUBLIC_PORT: '0',
      TAGWAIT_INTERNAL_PORT: '0',
      TAGWAIT_HOLD: '300',
      TAGWAIT_MAX_POLLS_PER_IP: '0',
      TAGWAIT_MAX_HELD_PER_IP: '0',
      NODE_ENV: 'production',
      ...env,
    },
  });
  const urls = await until(() => {
    const found = child.output.match(/http:\S+/g) ?? [];
    if (found.length < 2 && child.exitCode !== null) throw new Error(child.complaints);
    return found.length >= 2 && found;
  }, 'tagwait listens');
  const [port, setPort] = urls.map(url => Number(new URL(url).port));
  return { children: [child], ports: [port], setPort };
}

export async function startRedis() {
  const port = await freePort();
  const words = ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--dir', folder];
  const child = start('server', 'redis-server', words);
  await until(() => child.output.includes('Ready to accept'), 'Redis is ready');
  return { child, port, url: `redis://127.0.0.1:${port}`, cli: (...words) => redisCli(port, ...words) };
}

const redisCli = (port, ...words) =>
  execFileSync('redis-cli', ['-p', String(port), ...words], { encoding: 'utf8' });

export const has = {
  nchan: existsSync(NCHAN),
  redis: ['/usr/bin', '/usr/local/bin', '/opt/homebrew/bin'].some(path => existsSync(`${path}/redis-server`)),
};

/** nginx with nchan, one process; stores in Redis if one is given. */
async function startNchan(redis) {
  const port = await freePort();
  const at = join(folder, String(port));
  execFileSync('mkdir', ['-p', at]);
  const pass = redis ? 'nchan_redis_pass store;' : '';
  writeFileSync(
    join(at, 'nginx.conf'),
    `load_module ${NCHAN};
daemon off; master_process off; worker_processes 1; worker_rlimit_nofile 20000;
pid ${at}/pid; error_log stderr warn; user root;
events { worker_connections 19900; }
http {
  access_log off; nchan_shared_memory_size 512M; keepalive_timeout 600s; keepalive_requests 1000000000;
  client_body_temp_path ${at}; proxy_temp_path ${at}; fastcgi_temp_path ${at}; uwsgi_temp_path ${at}; scgi_temp_path ${at};
  ${redis ? `upstream store { nchan_redis_server ${redis.url}; }` : ''}
  server {
    listen 127.0.0.1:${port} backlog=4096;
    location = /sub { nchan_subscriber longpoll; nchan_channel_id $arg_id; nchan_subscriber_timeout 300; ${pass} }
    location = /pub { nchan_publisher; nchan_channel_id $arg_id; nchan_message_buffer_length 16; nchan_message_timeout 300s; ${pass} }
  }
}
`,
  );
  const child = start('server', 'nginx', ['-p', at, '-c', join(at, 'nginx.conf')]);
  await until(async () => {
    if (child.exitCode !== null) throw new Error(child.complaints);
    return fetch(`http://127.0.0.1:${port}/`).catch(() => {});
  }, 'nginx is ready');
  return { children: [child], ports: [port], setPort: port };
}

const over = async (redis, startOne) => {
  const [held, asked] = [await startOne(redis), await startOne(redis)];
  return {
    children: [...held.children, ...asked.children, redis.child],
    ports: held.ports,
    setPort: asked.setPort,
  };
};

/** Pages poll the first process, backends set on the second. */
export const twoNodes = redis => over(redis, ({ url }) => startTagwait({ TAGWAIT_REDIS_URL: url }));

/** The flags that src/cli.ts sets. */
const FLAGS = ['--max-semi-space-size=2', '--single-threaded-gc'];

/** One process each, values in memory. */
export const BARE = { name: 'node:http, no checks', protocol: 'bare', start: () => ofOurs('bare') };
export const OURS = { name: 'tagwait', protocol: 'tagwait', start: () => startTagwait() };
/** Not part of a whole run: `--only=floor`. */
export const FLOOR = { name: 'node:net, the floor', protocol: 'bare', start: () => ofOurs('sockets') };
export const PEERS = [
  {
    name: "node:http, no checks, tagwait's V8 flags",
    protocol: 'bare',
    start: () => ofOurs('bare', { flags: FLAGS }),
  },
  { name: 'Koa, written plainly', protocol: 'koa', start: () => ofOurs('koa') },
  { name: 'Faye 1.4 callback-polling', protocol: 'faye', start: () => ofOurs('faye') },
  { name: 'engine.io 6 JSONP polling', protocol: 'engineio', start: () => ofOurs('engineio') },
  ...(has.nchan ? [{ name: 'nchan (C)', protocol: 'nchan', start: () => startNchan() }] : []),
];

/** Two processes and Redis on one core: polls on one, sets on the other. */
export const OURS_OVER_REDIS = {
  name: 'tagwait, two nodes + Redis',
  protocol: 'tagwait',
  start: async () => {
    const redis = await startRedis();
    return { ...(await twoNodes(redis)), redis };
  },
};
export const NCHAN_OVER_REDIS = {
  name: 'nchan (C), two nodes + Redis',
  protocol: 'nchan',
  start: async () => over(await startRedis(), startNchan),
};

export const stop = server => end(server.children);

/** Memory (RSS) of all processes of a server, KiB. */
export const rss = ({ children }) =>
  children.reduce((sum, { pid }) => {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    return sum + Number(/VmRSS:\s+(\d+)/.exec(status)[1]);
  }, 0);

/** Waits until a server is idle: it accepts connections long after the kernel did. */
export async function atRest(server) {
  for (let before = cpu(server); ; ) {
    await new Promise(resolve => setTimeout(resolve, 400));
    const now = cpu(server);
    // the server's own timers, once a second
    if (now - before <= 20_000) return;
    before = now;
  }
}

/** CPU time of all processes of a server so far, µs. The kernel counts each thread's in ns. */
export const cpu = ({ children }) =>
  children.reduce((sum, { pid }) => sum + threads(pid).reduce((all, one) => all + runtime(one), 0), 0);

const threads = pid => readdirSync(`/proc/${pid}/task`).map(id => `/proc/${pid}/task/${id}/schedstat`);
const runtime = file => Number(readFileSync(file, 'utf8').split(' ')[0]) / 1000;

/** The control of pairs.js, on the server's core: `await control()` is how long its computing took, ms. */
export function startControl() {
  const child = start('server', process.execPath, [here('control.js')], {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  const control = () =>
    new Promise(resolve => {
      child.once('message', resolve);
      child.send(0);
    });
  return { control, end: () => end([child]) };
}
