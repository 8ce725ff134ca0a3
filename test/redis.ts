/** Real Redis servers for tests: on free ports, in folders of their own, ended with the test that started them. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { until } from './harness.js';
import { type Owner, onTestFinished } from './owner.js';

const passwordIn = (args: string[]): { password?: string } =>
  args.includes('--requirepass') ? { password: args[args.indexOf('--requirepass') + 1] as string } : {};

/**
 * A port that is free now, and whose neighbour 10,000 above is too: a Cluster's bus sits there. Both are below 32,768,
 * where Linux begins to give ports to clients: one of them would take the port before its server does.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = 11_000 + Math.floor(Math.random() * 11_000);
    if ((await isFree(port)) && (await isFree(port + 10_000))) return port;
  }
}
const isFree = (port: number) =>
  new Promise<boolean>(resolve => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });

export interface Certificate {
  /** the file, which is its own authority */
  file: string;
  /** of a redis-server */
  args: string[];
  /** of redis-cli */
  cli: string[];
}

/** A certificate for the name `localhost`: it does not hold for 127.0.0.1. */
export function certificate(own: Owner = onTestFinished): Certificate {
  const folder = mkdtempSync(join(tmpdir(), 'tagwait-tls-'));
  own(() => rmSync(folder, { recursive: true, force: true }));
  const [key, file] = [join(folder, 'key.pem'), join(folder, 'cert.pem')];
  const made =
    'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=localhost';
  const where = ['-addext', 'subjectAltName=DNS:localhost', '-keyout', key, '-out', file];
  execFileSync('openssl', [...made.split(' '), ...where], { stdio: 'ignore' });
  const served = ['--tls-cert-file', file, '--tls-key-file', key, '--tls-ca-cert-file', file];
  return {
    file,
    args: [...served, '--tls-auth-clients', 'no', '--tls-replication', 'yes'],
    cli: ['--tls', '--cacert', file],
  };
}

/** The user of docs/redis.md, as arguments of a redis-server whose own user is left as it is. */
export function userOfDocs(password: string): string[] {
  const docs = readFileSync(new URL('../docs/redis.md', import.meta.url), 'utf8');
  const [, rule = ''] = /ACL SETUSER (tagwait .*)/.exec(docs) ?? [];
  if (!rule.includes('>PASSWORD')) throw new Error('docs/redis.md has no user');
  return ['--user', ...rule.replace('>PASSWORD', `>${password}`).split(' ')];
}

/** What was refused to the user of the docs, by `ACL LOG`. */
export async function refused(servers: RedisServer[]): Promise<string[]> {
  const logs = await Promise.all(
    servers.map(({ client }) => client.call('ACL', 'LOG') as Promise<string[][]>),
  );
  return logs.flat().map(entry => entry[entry.indexOf('object') + 1] as string);
}

export interface RedisServer {
  port: number;
  /** for TLS, with a certificate among the arguments */
  tlsPort: number;
  url: string;
  /** a client of the test's own */
  client: Redis;
  process: ChildProcess;
  /** SIGKILL */
  kill(): Promise<void>;
  /** again, with the same folder and arguments, and more; waits until it answers, or loads its data */
  start(more?: string[]): Promise<void>;
}

export async function redisServer(
  args: string[] = [],
  own: Owner = onTestFinished,
  port?: number,
): Promise<RedisServer> {
  const folder = mkdtempSync(join(tmpdir(), 'tagwait-redis-'));
  const at = port ?? (await freePort());
  const tls = args.includes('--tls-cert-file') && !args.includes('--tls-port') ? await freePort() : 0;
  const server = {
    port: at,
    tlsPort: tls,
    url: `redis://127.0.0.1:${at}`,
    client: new Redis({
      port: at,
      ...passwordIn(args),
      retryStrategy: () => 50,
      maxRetriesPerRequest: null,
      lazyConnect: true,
    }),
  } as RedisServer;
  server.client.on('error', () => {});
  server.kill = async () => {
    if (server.process.exitCode !== null || server.process.signalCode !== null) return;
    server.process.kill('SIGCONT');
    server.process.kill('SIGKILL');
    await once(server.process, 'exit');
  };
  server.start = async (more = []) => {
    const options = [
      '--port',
      String(at),
      '--bind',
      '127.0.0.1',
      '--dir',
      folder,
      '--save',
      '',
      '--daemonize',
      'no',
    ];
    if (tls) options.push('--tls-port', String(tls));
    server.process = spawn('redis-server', [...options, ...args, ...more], { stdio: 'ignore' });
    await answering(at, args);
  };
  own(async () => {
    server.client.disconnect();
    await server.kill();
    rmSync(folder, { recursive: true, force: true });
  });
  await server.start();
  return server;
}

const answering = (port: number, args: string[]) =>
  until(
    () => {
      try {
        const tls = args.includes('--tls-port')
          ? ['--insecure', '--tls', '-p', args[args.indexOf('--tls-port') + 1] as string]
          : ['-p', String(port)];
        return /PONG|NOAUTH|LOADING/.test(
          execFileSync('redis-cli', [...tls, 'ping'], {
            encoding: 'utf8',
            stdio: ['ignore', 'pipe', 'pipe'],
          }),
        );
      } catch {
        return false;
      }
    },
    { every: 50 },
  );

export interface Cluster {
  nodes: RedisServer[];
  /** host:port,host:port */
  setting: string;
}

/** Three masters, each with as many replicas. @param secure they speak TLS, and call themselves localhost */
export async function redisCluster(
  replicas = 0,
  own: Owner = onTestFinished,
  more: string[] = [],
  secure?: Certificate,
): Promise<Cluster> {
  const named = ['--cluster-announce-hostname', 'localhost', '--cluster-preferred-endpoint-type', 'hostname'];
  const args = [
    ...more,
    ...(secure ? [...secure.args, '--tls-cluster', 'yes', ...named] : []),
    '--cluster-enabled',
    'yes',
    '--cluster-node-timeout',
    '1500',
    '--appendonly',
    'no',
    '--repl-diskless-sync-delay',
    '0',
  ];
  const { password } = passwordIn(args);
  const nodes: RedisServer[] = [];
  for (let count = 0; count < 3 * (replicas + 1); count++) nodes.push(await redisServer(args, own));
  const addresses = nodes.map(({ port, tlsPort }) => (secure ? `localhost:${tlsPort}` : `127.0.0.1:${port}`));
  execFileSync(
    'redis-cli',
    [
      ...(secure?.cli ?? []),
      ...['--cluster', 'create', ...addresses.map(address => address.replace('localhost', '127.0.0.1'))],
      ...['--cluster-replicas', String(replicas), '--cluster-yes'],
    ],
    {
      env: { ...process.env, ...(password ? { REDISCLI_AUTH: password } : {}) },
      stdio: 'ignore',
    },
  );
  for (const node of nodes)
    await until(
      async () => {
        const info = await node.client.cluster('INFO');
        const known = (await node.client.cluster('NODES')) as string;
        const linked =
          replicas === 0 ||
          (await node.client.info('replication')).match(/role:master|master_link_status:up/);
        return (
          info.includes('cluster_state:ok') && known.trim().split('\n').length === nodes.length && linked
        );
      },
      { within: 30_000, every: 100 },
    );
  return { nodes, setting: addresses.join(',') };
}

export interface Sentinels {
  master: RedisServer;
  replicas: RedisServer[];
  /** host:port,host:port */
  setting: string;
  name: string;
}

/**
 * For what Sentinel or Cluster does by its own clocks. A Sentinel whose timer was late by 2 s, as on a busy machine, does
 * nothing for 30 s ("TILT mode" in its documentation); after that it needs two INFOs, 10 s apart each, to make a replica
 * of a master that came back.
 */
export const BY_ITSELF = { within: 90_000, every: 100 };

/**
 * A master with replicas and three Sentinels, quick to fail over.
 * @param more with a password the Sentinels want it, with a certificate all speak TLS and call themselves localhost
 */
export async function redisSentinels(
  replicas = 1,
  args: string[] = [],
  own: Owner = onTestFinished,
  { password: wanted, secure }: { password?: string; secure?: Certificate } = {},
): Promise<Sentinels> {
  const { password } = passwordIn(args);
  const quick = ['--repl-diskless-sync-delay', '0', '--repl-ping-replica-period', '1', ...args];
  if (secure) quick.push(...secure.args, '--replica-announce-ip', 'localhost');
  const master = await redisServer(quick, own);
  const place = secure ? `localhost ${master.tlsPort}` : `127.0.0.1 ${master.port}`;
  const followers: RedisServer[] = [];
  for (let count = 0; count < replicas; count++)
    followers.push(await redisServer([...quick, '--replicaof', place], own));
  await until(
    async () => (await master.client.info('replication')).includes(`connected_slaves:${replicas}`),
    { within: 20_000 },
  );
  const folder = mkdtempSync(join(tmpdir(), 'tagwait-sentinel-'));
  const ports: number[] = [];
  for (let count = 0; count < 3; count++) {
    const port = await freePort();
    const file = join(folder, `${port}.conf`);
    writeFileSync(
      file,
      `${secure ? sentinelTls(port, secure) : `port ${port}`}\nbind 127.0.0.1\ndir ${folder}\n` +
        `sentinel monitor tag ${place} 2\n` +
        'sentinel down-after-milliseconds tag 1000\nsentinel failover-timeout tag 3000\nsentinel parallel-syncs tag 1\n' +
        (password ? `sentinel auth-pass tag ${password}\n` : '') +
        (wanted ? `requirepass "${wanted}"\nsentinel sentinel-pass "${wanted}"\n` : ''),
    );
    const process = spawn('redis-server', [file, '--sentinel'], { stdio: 'ignore' });
    own(async () => {
      process.kill('SIGKILL');
      if (process.exitCode === null && process.signalCode === null) await once(process, 'exit');
    });
    ports.push(port);
  }
  own(() => rmSync(folder, { recursive: true, force: true }));
  for (const port of ports) {
    const sentinel = new Redis({
      port,
      ...(wanted ? { password: wanted } : {}),
      ...(secure ? { host: 'localhost', tls: { ca: readFileSync(secure.file) } } : {}),
      retryStrategy: () => 100,
      maxRetriesPerRequest: null,
    });
    sentinel.on('error', () => {});
    await until(
      async () => {
        const [state] = (await sentinel.call('SENTINEL', 'MASTERS')) as string[][];
        const field = (name: string) => state?.[state.indexOf(name) + 1];
        return field('num-slaves') === String(replicas) && field('num-other-sentinels') === '2';
      },
      { within: 30_000, every: 100 },
    );
    sentinel.disconnect();
  }
  return {
    master,
    replicas: followers,
    setting: ports.map(port => `${secure ? 'localhost' : '127.0.0.1'}:${port}`).join(','),
    name: 'tag',
  };
}

const sentinelTls = (port: number, { args }: Certificate) =>
  `port 0\ntls-port ${port}\nsentinel resolve-hostnames yes\nsentinel announce-hostnames yes\n${args.join(' ').slice(2).replaceAll(' --', '\n')}`;
