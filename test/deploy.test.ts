/**
 * deploy/: nginx run for real, with TLS, before two real nodes and Redis; all else read and held against the code.
 * Not run here, because it needs what tests cannot have: Docker, Kubernetes, systemd.
 */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { Agent, get } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { envOf, NAMES } from '../src/config.js';
import { launch } from './chromium.js';
import { held, type Reply, type Spawned, set, spawned, until } from './harness.js';
import { find } from './needs.js';
import { freePort, redisServer } from './redis.js';

const root = fileURLToPath(new URL('..', import.meta.url));
const text = (name: string) => readFileSync(join(root, 'deploy', name), 'utf8');

const program = find(['nginx']) ?? (existsSync('/usr/sbin/nginx') ? '/usr/sbin/nginx' : undefined);
if (!program)
  console.log(
    'nginx is not on this machine: the tests behind a real proxy are left out (apt-get install nginx)',
  );

/** deploy/nginx.conf as it is, but for ports, certificate and where it writes. @returns its URL */
async function nginx(nodes: number[]): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'tagwait-nginx-'));
  const port = await freePort();
  const file = (name: string) => join(folder, name);
  execFileSync(
    'openssl',
    `req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost -keyout ${file('key')} -out ${file('crt')}`.split(
      ' ',
    ),
    { stdio: 'ignore' },
  );
  const paths = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    name => `${name}_temp_path ${file(name)};`,
  );
  const conf = text('nginx.conf')
    .replace('listen 443 ssl http2', `listen 127.0.0.1:${port} ssl http2`)
    .replace(/ +listen \[::\].*\n/, '')
    .replace(/(ssl_certificate) .*/, `$1 ${file('crt')};`)
    .replace(/(ssl_certificate_key) .*/, `$1 ${file('key')};`)
    .replace('127.0.0.1:11000', `127.0.0.1:${nodes[0]}`)
    .replace('127.0.0.1:11100', `127.0.0.1:${nodes[1]}`)
    .replace('worker_rlimit_nofile 200000', 'worker_rlimit_nofile 4096')
    .replace('worker_connections 100000', 'worker_connections 2000')
    .replace('worker_processes auto', 'worker_processes 1')
    .replace('http {', `http {\n${paths.join('\n')}`);
  writeFileSync(file('conf'), conf);
  const child = spawn(
    program as string,
    ['-p', folder, '-c', file('conf'), '-e', file('log'), '-g', `daemon off; pid ${file('pid')};`],
    {
      stdio: 'ignore',
    },
  );
  onTestFinished(async () => {
    child.kill('SIGTERM');
    if (child.exitCode === null) await once(child, 'exit');
    rmSync(folder, { recursive: true, force: true });
  });
  const url = `https://127.0.0.1:${port}`;
  await until(async () => {
    if (child.exitCode !== null) throw new Error(readFileSync(file('log'), 'utf8'));
    return (await ask(`${url}/healthz`).catch(() => undefined))?.status === 200;
  });
  return url;
}

const agents = new Map<string, Agent>();
function agent(from: string): Agent {
  const known =
    agents.get(from) ?? new Agent({ keepAlive: true, rejectUnauthorized: false, localAddress: from });
  agents.set(from, known);
  return known;
}

function ask(url: string, from = '127.0.0.1', headers = {}): Promise<{ status: number; reply: Reply }> {
  return new Promise((resolve, reject) => {
    get(url, { agent: agent(from), headers }, response => {
      let body = '';
      response.setEncoding('utf8');
      response.on('data', chunk => {
        body += chunk;
      });
      response.on('error', reject);
      response.on('end', () => {
        try {
          resolve({ status: response.statusCode ?? 0, reply: JSON.parse(body) });
        } catch {
          reject(new Error(`${response.statusCode} ${body}`));
        }
      });
    }).on('error', reject);
  });
}

async function twoNodes(env: Record<string, string> = {}) {
  const { url } = await redisServer();
  const ports = [await freePort(), await freePort()];
  const start = (index: number): Promise<Spawned> =>
    spawned({
      TAGWAIT_REDIS_URL: url,
      TAGWAIT_PUBLIC_PORT: String(ports[index]),
      TAGWAIT_TRUST_PROXY: '1',
      TAGWAIT_DRAIN: '2',
      ...env,
    });
  return { nodes: [await start(0), await start(1)], start, front: await nginx(ports) };
}

describe.skipIf(!program)('behind a real nginx, over TLS', () => {
  let browser: Browser;
  beforeAll(async () => {
    browser = await launch();
  });
  afterAll(async () => {
    await browser.close();
    for (const one of agents.values()) one.destroy();
  });

  test('a scan login, and ten tabs over one HTTP/2 connection', { timeout: 60_000 }, async () => {
    const { nodes, front } = await twoNodes({ TAGWAIT_SECRET: 's'.repeat(32) });
    const [one, two] = nodes as [Spawned, Spawned];
    const context = await browser.newContext({ ignoreHTTPSErrors: true });
    onTestFinished(() => context.close());
    const html = '<!doctype html><title>login</title><script src="/client.js"></script>';
    await context.route('**/login', route => route.fulfill({ contentType: 'text/html', body: html }));
    const ticket = async () =>
      (await (await fetch(`${one.internalUrl}/status/new`, { method: 'POST' })).json()) as {
        key: string;
        proof: string;
      };
    const tabs = await Promise.all(
      Array.from({ length: 10 }, async () => {
        const [page, { key, proof }] = [await context.newPage(), await ticket()];
        await page.goto(`${front}/login`);
        await page.evaluate(
          ([id, sign]) => {
            const heard: unknown[] = [];
            Object.assign(window, { heard });
            (window as never as { tagwait: { watch(key: string, options: object): void } }).tagwait.watch(
              id as string,
              {
                proof: sign,
                onvalue: (value: unknown) => heard.push(value),
                onend: (reason: unknown) => heard.push(reason),
              },
            );
          },
          [key, proof],
        );
        return { page, key };
      }),
    );
    // the tabs agree on who holds at leisure: a browser without HTTP/2 has six connections
    await until(async () => {
      const reply = (await (await fetch(`${two.internalUrl}/nodes`)).json()) as { nodes: { held: number }[] };
      return reply.nodes.some(node => node.held > 0);
    });
    for (const { key } of tabs) {
      const scanned = await set(one.internalUrl, { key, value: 'scanned', expect: '' });
      expect(scanned.status).toBe(200);
      expect((await set(two.internalUrl, { key, value: 'scanned by another', expect: '' })).status).toBe(409);
      await set(two.internalUrl, { key, value: { code: 'once' }, final: true });
    }
    for (const { page } of tabs) {
      await page.bringToFront();
      await page.waitForFunction(() => (window as never as { heard: unknown[] }).heard.length === 3);
      expect(await page.evaluate(() => (window as never as { heard: unknown[] }).heard)).toEqual([
        'scanned',
        { code: 'once' },
        'final',
      ]);
      const protocols = await page.evaluate(() =>
        performance
          .getEntriesByType('resource')
          .map(entry => (entry as PerformanceResourceTiming).nextHopProtocol),
      );
      expect(new Set(protocols)).toEqual(new Set(['h2']));
    }
  });

  test('a rolling restart of both nodes under load: no value lost, no error shown', {
    timeout: 90_000,
  }, async () => {
    const { nodes, start, front } = await twoNodes();
    const keys = Array.from({ length: 20 }, (_, number) => `k${number}`);
    const heard = new Map<string, unknown[]>();
    const faults: string[] = [];
    const moves = { count: 0 };
    let over = false;
    const pages = keys.map(async key => {
      const mine: unknown[] = [];
      heard.set(key, mine);
      for (let since = ''; !over; ) {
        try {
          const { reply } = await ask(`${front}/status/get?key=${key}&since=${since}&hold=5`);
          if (reply.code === 0) mine.push(...(reply.earlier ?? []), reply.data);
          if (reply.lost || ![0, -1, -6].includes(reply.code)) faults.push(JSON.stringify(reply));
          if (reply.code === -6) moves.count++;
          since = reply.cursor ?? since;
          if (reply.retry) await new Promise(resolve => setTimeout(resolve, reply.retry));
        } catch (error) {
          faults.push(String(error));
        }
      }
    });
    await held(nodes[0]?.internalUrl as string, 'k0', 1);
    let acknowledged = 0;
    let setting = true;
    const setter = (async () => {
      for (let value = 1; setting; value++) {
        // a backend tries again, at the other node, with the same id
        for (const key of keys)
          for (let turn = 0; ; turn++) {
            const { internalUrl } = nodes[turn % 2] as Spawned;
            const done = await set(internalUrl, { key, value, id: String(value) }).catch(() => undefined);
            if (done?.status === 200) break;
          }
        acknowledged = value;
      }
    })();
    for (const index of [0, 1]) {
      const before = acknowledged;
      await until(() => acknowledged > before + 3, { within: 20_000 });
      const old = nodes[index] as Spawned;
      old.process.kill('SIGTERM');
      expect(await old.ended).toBe(0);
      nodes[index] = await start(index);
    }
    const before = acknowledged;
    await until(() => acknowledged > before + 3, { within: 20_000 });
    setting = false;
    await setter;
    const all = Array.from({ length: acknowledged }, (_, index) => index + 1);
    await until(() => keys.every(key => heard.get(key)?.at(-1) === acknowledged), { within: 20_000 });
    over = true;
    for (const key of keys) {
      await set(nodes[0]?.internalUrl as string, { key, value: 'over' });
      expect(heard.get(key)?.slice(0, acknowledged)).toEqual(all);
    }
    await Promise.all(pages);
    expect(faults).toEqual([]);
    expect(moves.count, 'pages that a closing node sent to the other').toBeGreaterThan(0);
  });

  test("each page's own address is counted, whatever it says of itself; a hold fits under the time-outs", async () => {
    const { front } = await twoNodes({ TAGWAIT_MAX_POLLS_PER_IP: '1' });
    const polls = (from: string) =>
      Promise.all(
        Array.from({ length: 12 }, (_, number) =>
          ask(`${front}/status/get?key=a&hold=0`, from, { 'X-Forwarded-For': `192.0.2.${number}` }),
        ),
      );
    const busy = (await polls('127.0.0.2')).filter(({ reply }) => reply.code === -3);
    expect(busy.length).toBeGreaterThan(5);
    const { reply } = await ask(`${front}/status/get?key=a&hold=0`, '127.0.0.3');
    expect(reply.code).toBe(-1);
    const longest = Number(/proxy_read_timeout (\d+)s/.exec(text('nginx.conf'))?.[1]);
    const { SETTINGS } = await import('../src/config.js');
    expect(longest).toBeGreaterThanOrEqual(Number(SETTINGS.hold.fallback) + 15);
  });
});

describe('read, not run', () => {
  const files = ['nginx.conf', 'Dockerfile', 'compose.yaml', 'tagwait.service', 'kubernetes/tagwait.yaml'];

  test.each(files)('%s: every setting that it names exists', name => {
    const known = NAMES.map(envOf);
    const named = [...text(name).matchAll(/TAGWAIT_[A-Z_]+/g)].map(match => match[0]);
    expect(named.length).toBeGreaterThan(0);
    for (const setting of named) expect(known).toContain(setting);
  });

  test('Dockerfile: what it copies is there, not run as root, and it ends when told', () => {
    const lines = text('Dockerfile')
      .replace(/\\\n\s*/g, '')
      .split('\n')
      .filter(line => line && !line.startsWith('#'))
      .map(line => line.split(' '));
    const known = new Set(
      'FROM WORKDIR COPY RUN ENV USER EXPOSE HEALTHCHECK STOPSIGNAL ENTRYPOINT'.split(' '),
    );
    for (const [instruction = ''] of lines) expect(known).toContain(instruction);
    for (const [instruction, ...words] of lines)
      if (instruction === 'COPY' && !words[0]?.startsWith('--'))
        for (const source of words.slice(0, -1)) expect(existsSync(join(root, source)), source).toBe(true);
    const last = (name: string) =>
      lines
        .filter(([instruction]) => instruction === name)
        .at(-1)
        ?.slice(1)
        .join(' ');
    expect(last('USER')).toBe('node');
    expect(JSON.parse(last('ENTRYPOINT') ?? '')).toEqual(['node', 'dist/cli.js']);
    expect(last('HEALTHCHECK')).toContain('/healthz');
    const ignored = text('Dockerfile.dockerignore');
    for (const source of ['package.json', 'package-lock.json', 'tsconfig.json', 'src', 'client'])
      expect(ignored).toContain(`!${source}\n`);
  });

  interface Compose {
    services: Record<
      string,
      { network_mode?: string; environment?: Record<string, string>; stop_grace_period?: string }
    >;
  }
  const yaml = (name: string) =>
    parseAllDocuments(text(name), { merge: true }).map(document => {
      expect(document.errors).toEqual([]);
      return document.toJS();
    });

  test('compose.yaml: two nodes where nginx.conf looks for them, with time to drain', () => {
    const [{ services }] = yaml('compose.yaml') as [Compose];
    const nodes = ['one', 'two'].map(name => services[name]);
    const ports = nodes.map(node => node?.environment?.TAGWAIT_PUBLIC_PORT ?? '11000');
    expect([...text('nginx.conf').matchAll(/server 127\.0\.0\.1:(\d+)/g)].map(match => match[1])).toEqual(
      ports,
    );
    for (const node of nodes) {
      expect(node?.network_mode).toBe('service:net');
      expect(Number.parseInt(node?.stop_grace_period ?? '0', 10)).toBeGreaterThan(
        Number(node?.environment?.TAGWAIT_DRAIN),
      );
    }
    expect(Object.keys(services).sort()).toEqual(['net', 'nginx', 'one', 'redis', 'two']);
  });

  test('Kubernetes: probes, ports and selectors belong together, and the grace covers the drain', () => {
    const documents = yaml('kubernetes/tagwait.yaml') as { kind: string; spec: Record<string, never> }[];
    const of = (kind: string) =>
      documents.filter(one => one.kind === kind).map(one => one.spec as never as Spec);
    interface Spec {
      selector: { app?: string; matchLabels?: { app: string } };
      ports: { targetPort: string }[];
      template: { metadata: { labels: object }; spec: Pod };
    }
    interface Pod {
      terminationGracePeriodSeconds: number;
      containers: {
        env: { name: string; value: string }[];
        ports: { name: string; containerPort: number }[];
        readinessProbe: { httpGet: { path: string; port: string } };
        livenessProbe: { httpGet: { path: string; port: string } };
        lifecycle: { preStop: { exec: { command: string[] } } };
      }[];
    }
    const [deployment] = of('Deployment') as [Spec];
    const { spec, metadata } = deployment.template;
    const [container] = spec.containers as [Pod['containers'][0]];
    const ports = container.ports.map(port => port.name);
    expect(container.readinessProbe.httpGet).toEqual({ path: '/readyz', port: 'internal' });
    expect(container.livenessProbe.httpGet).toEqual({ path: '/healthz', port: 'internal' });
    for (const service of of('Service')) {
      expect(metadata.labels).toMatchObject(service.selector);
      for (const { targetPort } of service.ports) expect(ports).toContain(targetPort);
    }
    expect(of('PodDisruptionBudget')[0]?.selector.matchLabels).toEqual(metadata.labels);
    const drain = Number(container.env.find(({ name }) => name === 'TAGWAIT_DRAIN')?.value);
    const before = Number(container.lifecycle.preStop.exec.command[1]);
    expect(spec.terminationGracePeriodSeconds).toBeGreaterThan(drain + before);
  });

  test('the systemd unit: every line is one of a section, and it may open many files', () => {
    const unit = text('tagwait.service')
      .split('\n')
      .filter(line => line && !line.startsWith('#'));
    for (const line of unit) expect(line).toMatch(/^(\[(Unit|Service|Install)\]|[A-Z]\w+=.*)$/);
    expect(unit).toContain('LimitNOFILE=200000');
    expect(unit).toContain('NoNewPrivileges=yes');
    const analyze = find(['systemd-analyze']);
    if (analyze) execFileSync(analyze, ['verify', join(root, 'deploy/tagwait.service')]);
  });
});
