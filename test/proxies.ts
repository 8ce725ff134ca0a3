/** deploy/'s proxies, run for real over TLS: as they are but for ports, certificate, limits and where they write. */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { Agent, request } from 'node:https';
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

/** Replaces what must be there: a file that says it otherwise would be tested as something else. */
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
}

/** How each is written down and started. @returns its arguments */
const KINDS: Record<string, (setting: Setting) => string[]> = {
  nginx({ port, nodes, file }) {
    const folders = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];
    const paths = folders.map(name => `${name}_temp_path ${file(name)};`).join('\n');
    const text = replaced(
      deployed('nginx.conf'),
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
  haproxy({ port, nodes, file }) {
    const text = replaced(
      deployed('haproxy.cfg'),
      ['maxconn 100000', 'maxconn 1000'],
      [/bind :443 ssl crt \S+/, `bind 127.0.0.1:${port} ssl crt ${file('pem')}`],
      ['127.0.0.1:11000', `127.0.0.1:${nodes[0]}`],
      ['127.0.0.1:11100', `127.0.0.1:${nodes[1]}`],
    );
    writeFileSync(file('conf'), text);
    return ['-db', '-f', file('conf')];
  },
  caddy({ port, nodes, file }) {
    const text = replaced(
      deployed('Caddyfile'),
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
};

export const KNOWN = Object.keys(KINDS);

/** Starts one before nodes on these ports; ended with the test. @returns its URL */
export async function proxy(kind: string, nodes: number[]): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), `tagwait-${kind}-`));
  const port = await freePort();
  const file = (name: string) => join(folder, name);
  const subject = '-nodes -days 2 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1';
  const made = `req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 ${subject} -keyout ${file('key')} -out ${file('crt')}`;
  execFileSync('openssl', made.split(' '), { stdio: 'ignore' });
  writeFileSync(file('pem'), readFileSync(file('crt'), 'utf8') + readFileSync(file('key'), 'utf8'));
  const args = KINDS[kind]?.({ port, nodes, file }) ?? [];
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
    // held requests must not keep it
    child.kill(kind === 'nginx' ? 'SIGTERM' : 'SIGKILL');
    await ended;
    rmSync(folder, { recursive: true, force: true });
  });
  const url = `https://127.0.0.1:${port}`;
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
  return url;
}

const agents = new Map<string, Agent>();
function agent(from: string): Agent {
  const known =
    agents.get(from) ?? new Agent({ keepAlive: true, rejectUnauthorized: false, localAddress: from });
  agents.set(from, known);
  return known;
}

export function hangUp(): void {
  for (const one of agents.values()) one.destroy();
  agents.clear();
}

/** Asks over HTTPS, trusting any certificate. @param from the address to ask from, one of this machine's */
export async function ask(
  url: string,
  from = '127.0.0.1',
  headers = {},
): Promise<{ status: number; reply: Reply }> {
  const { status, body } = await fetchBy('GET', url, from, headers);
  try {
    return { status, reply: JSON.parse(body) };
  } catch {
    throw new Error(`${status} ${body}`);
  }
}

/** The same with any method. */
export function fetchBy(
  method: string,
  url: string,
  from = '127.0.0.1',
  headers = {},
): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    const asked = request(url, { method, agent: agent(from), headers }, response => {
      let body = '';
      response.setEncoding('utf8');
      response.on('data', chunk => {
        body += chunk;
      });
      response.on('error', reject);
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body }));
    });
    asked.on('error', reject).end();
  });
}
