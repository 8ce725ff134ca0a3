/** Runs the proxies of deploy/ as they are, except for ports, certificates, limits and the folders that they write to. */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { type Agent, Agent as HttpAgent, request as httpRequest, type IncomingHttpHeaders } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Reply, until } from './harness.js';
import { find } from './needs.js';
import { onTestFinished } from './owner.js';
import { freePort } from './redis.js';

export const deployed = (name: string) =>
  readFileSync(fileURLToPath(new URL(`../deploy/${name}`, import.meta.url)), 'utf8');

/** Debian keeps servers where a user's PATH does not look. */
export const program = (name: string): string | undefined =>
  find([name]) ?? [`/usr/sbin/${name}`].find(path => existsSync(path));

/** Replaces each text. @throws {Error} the file does not have it: it would be tested with the wrong ports */
function replaced(text: string, ...changes: [from: string | RegExp, to: string][]): string {
  return changes.reduce((before, [from, to]) => {
    const after = before.replace(from, to);
    if (after === before) throw new Error(`no ${from} in\n${before}`);
    return after;
  }, text);
}

interface Setting {
  port: number;
  nodes: number[];
  /** a file in a folder of the proxy's own */
  file(name: string): string;
  /** with the lines for a CDN, whose network is this */
  cdn?: string | undefined;
}

/** The lines of a file that have a `#` before them, for those behind a CDN, with this network. */
const forCdn = (text: string, cdn: string | undefined) =>
  cdn ? text.replace(/^(\s*)#(?=\w)/gm, '$1').replaceAll('192.0.2.0/24', cdn) : text;
/** Servers that are started as root run their processes as a user of their own. */
const isRoot = process.getuid?.() === 0;

/** Writes the configuration of each proxy. @returns its arguments */
const KINDS: Record<string, (setting: Setting) => string[]> = {
  nginx({ port, nodes, file, cdn }) {
    const folders = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];
    const paths = folders.map(name => `${name}_temp_path ${file(name)};`).join('\n');
    const text = replaced(
      forCdn(deployed('nginx.conf'), cdn),
      ['listen 443', `listen 127.0.0.1:${port}`],
      [/ +listen \[::\].*\n/, ''],
      [/ssl_certificate .*/, `ssl_certificate ${file('crt')};`],
      [/ssl_certificate_key .*/, `ssl_certificate_key ${file('key')};`],
      ['127.0.0.1:11000', `127.0.0.1:${nodes[0]}`],
      ['127.0.0.1:11100', `127.0.0.1:${nodes[1]}`],
      ['worker_rlimit_nofile 200000', 'worker_rlimit_nofile 4096'],
      ['worker_connections 100000', 'worker_connections 2000'],
      ['worker_processes auto', 'worker_processes 1'],
      ['http {', `http {\n${paths}`],
    );
    writeFileSync(file('conf'), text);
    return ['-p', file(''), '-c', file('conf'), '-e', file('log'), '-g', `daemon off; pid ${file('pid')};`];
  },
  haproxy({ port, nodes, file, cdn }) {
    const text = replaced(
      forCdn(deployed('haproxy.cfg'), cdn),
      ['maxconn 100000', 'maxconn 1000'],
      [/bind :::443 v4v6 ssl crt \S+/, `bind :::${port} v4v6 ssl crt ${file('pem')}`],
      ['127.0.0.1:11000', `127.0.0.1:${nodes[0]}`],
      ['127.0.0.1:11100', `127.0.0.1:${nodes[1]}`],
    );
    writeFileSync(file('conf'), text);
    // a master process, which a reload needs
    return ['-W', '-db', '-f', file('conf')];
  },
  caddy({ port, nodes, file, cdn }) {
    const text = replaced(
      forCdn(deployed('Caddyfile'), cdn),
      // alone on this port: no admin's port, no port 80, nothing kept
      [
        /^status\.example\.com \{/m,
        `{\nadmin off\nauto_https off\n}\nhttps://127.0.0.1:${port} {\nbind 127.0.0.1`,
      ],
      [/tls \S+ \S+/, `tls ${file('crt')} ${file('key')}`],
      ['127.0.0.1:11000', `127.0.0.1:${nodes[0]}`],
      ['127.0.0.1:11100', `127.0.0.1:${nodes[1]}`],
    );
    writeFileSync(file('conf'), text);
    return ['run', '--adapter', 'caddyfile', '--config', file('conf')];
  },
  apache2({ port, nodes, file }) {
    const text = replaced(
      deployed('apache.conf'),
      ['Listen 443', `Listen 127.0.0.1:${port}`],
      ['VirtualHost *:443', `VirtualHost *:${port}`],
      [/SSLCertificateFile .*/, `SSLCertificateFile ${file('crt')}`],
      [/SSLCertificateKeyFile .*/, `SSLCertificateKeyFile ${file('key')}`],
      [/ServerRoot .*/, `ServerRoot ${file('')}`],
      [/PidFile .*/, `PidFile ${file('pid')}\nDefaultRuntimeDir ${file('')}`],
      [/ErrorLog .*/, `ErrorLog ${file('log')}`],
      ['127.0.0.1:11000', `127.0.0.1:${nodes[0]}`],
      ['127.0.0.1:11100', `127.0.0.1:${nodes[1]}`],
      ['ServerLimit 16', 'ServerLimit 2\nStartServers 1'],
      ['MaxRequestWorkers 1024', 'MaxRequestWorkers 128'],
      ...(isRoot ? [] : ([[/^(User|Group) .*\n/gm, '']] as [RegExp, string][])),
    );
    writeFileSync(file('conf'), text);
    return ['-f', file('conf'), '-DFOREGROUND'];
  },
  varnishd({ port, nodes, file }) {
    const text = replaced(
      deployed('varnish.vcl'),
      ['.port = "11000"', `.port = "${nodes[0]}"`],
      ['.port = "11100"', `.port = "${nodes[1]}"`],
    );
    writeFileSync(file('vcl'), text);
    const settings = /^# Start: varnishd -f varnish.vcl (.*)$/m.exec(text)?.[1]?.split(' ') ?? [];
    const here = ['-F', '-a', `127.0.0.1:${port}`, '-f', file('vcl'), '-n', file('work'), '-j', 'none'];
    return [...here, '-s', 'malloc,10m', ...settings];
  },
  squid({ port, nodes, file }) {
    const text = replaced(
      deployed('squid.conf'),
      ['http_port 80', `http_port 127.0.0.1:${port}`],
      ['parent 11000', `parent ${nodes[0]}`],
      ['parent 11100', `parent ${nodes[1]}`],
    );
    const own = [
      'pid_filename none',
      'cache_log /dev/null',
      'coredump_dir none',
      'shutdown_lifetime 0 seconds',
    ];
    writeFileSync(file('conf'), [text, ...own, ''].join('\n'));
    // a name of its own, because its shared memory is named by it
    return ['-N', '-n', `tagwait${port}`, '-f', file('conf')];
  },
};

/** Those before which browsers and a crowd are put. */
export const KNOWN = ['nginx', 'haproxy', 'caddy'];
/** All of them: a request is held, its page leaves, a node drains. */
export const ALL = Object.keys(KINDS);
/** These have no TLS of their own. */
const PLAIN = ['varnishd', 'squid'];

/** Starts one before nodes on these ports; ended with the test. @returns its URL */
export const proxy = async (kind: string, nodes: number[], cdn?: string): Promise<string> =>
  (await startProxy(kind, nodes, cdn)).url;

/** @param cdn with the lines for a CDN, whose network is this @returns `reload` changes the configuration */
export async function startProxy(kind: string, nodes: number[], cdn?: string) {
  const folder = mkdtempSync(join(tmpdir(), `tagwait-${kind}-`));
  const port = await freePort();
  const file = (name: string) => join(folder, name);
  const subject = '-nodes -days 2 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1';
  const made = `req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 ${subject} -keyout ${file('key')} -out ${file('crt')}`;
  execFileSync('openssl', made.split(' '), { stdio: 'ignore' });
  writeFileSync(file('pem'), readFileSync(file('crt'), 'utf8') + readFileSync(file('key'), 'utf8'));
  // processes of another user read the files
  chmodSync(folder, 0o755);
  const args = KINDS[kind]?.({ port, nodes, file, cdn }) ?? [];
  // caddy keeps things in its home
  const env = { PATH: process.env.PATH, HOME: folder, XDG_DATA_HOME: folder, XDG_CONFIG_HOME: folder };
  const child = spawn(program(kind) as string, args, { stdio: ['ignore', 'pipe', 'pipe'], env });
  let output = '';
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', text => {
      output += text;
    });
  const ended = once(child, 'close');
  onTestFinished(async () => {
    // Caddy would wait for held requests; the others end their child processes
    child.kill(kind === 'caddy' ? 'SIGKILL' : 'SIGTERM');
    await ended;
    rmSync(folder, { recursive: true, force: true });
  });
  const url = `${PLAIN.includes(kind) ? 'http' : 'https'}://127.0.0.1:${port}`;
  await until(
    async () => {
      if (child.exitCode !== null) {
        const log = existsSync(file('log')) ? readFileSync(file('log'), 'utf8') : '';
        throw new Error(`${kind} ended: ${output}${log}`);
      }
      return (await ask(`${url}/healthz`).catch(() => undefined))?.status === 200;
    },
    { within: 30_000 },
  );
  const reload = (signal: NodeJS.Signals, change: (text: string) => string): void => {
    const before = readFileSync(file('conf'), 'utf8');
    writeFileSync(file('conf'), replaced(before, [before, change(before)]));
    child.kill(signal);
  };
  return { url, reload };
}

const agents = new Map<string, Agent>();
function agent(url: string, from: string): Agent {
  const secure = url.startsWith('https:');
  const name = `${secure} ${from}`;
  const options = { keepAlive: true, rejectUnauthorized: false, localAddress: from };
  const known = agents.get(name) ?? new (secure ? HttpsAgent : HttpAgent)(options);
  agents.set(name, known);
  return known;
}

export function hangUp(): void {
  for (const one of agents.values()) one.destroy();
  agents.clear();
}

/** A GET whose answer is JSON, by any certificate. @param from the local address, one of this machine's */
export async function ask(
  url: string,
  from = '127.0.0.1',
  headers = {},
): Promise<{ status: number; reply: Reply; headers: IncomingHttpHeaders }> {
  const { body, ...head } = await fetchBy('GET', url, from, headers);
  try {
    return { ...head, reply: JSON.parse(body) };
  } catch {
    throw new Error(`${head.status} ${body}`);
  }
}

/** The same with any method. */
export function fetchBy(
  method: string,
  url: string,
  from = '127.0.0.1',
  headers = {},
): Promise<{ status: number; headers: IncomingHttpHeaders; body: string }> {
  return new Promise((resolve, reject) => {
    const send = url.startsWith('https:') ? httpsRequest : httpRequest;
    const asked = send(url, { method, agent: agent(url, from), headers }, response => {
      let body = '';
      response.setEncoding('utf8');
      response.on('data', chunk => {
        body += chunk;
      });
      response.on('error', reject);
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body }),
      );
    });
    asked.on('error', reject).end();
  });
}
