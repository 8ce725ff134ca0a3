/**
 * deploy/: files for Docker, Compose and Kubernetes are read and compared with the code, because these programs are not
 * here; the image's stages, Helm and systemd's own checks are run. The proxies have test/proxies.test.ts and
 * test/behind.test.ts, Prometheus and Grafana test/dashboard.test.ts.
 */
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  cpSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Copy, DockerfileParser } from 'dockerfile-ast';
import { describe, expect, onTestFinished, test } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { version } from '../src/assets.js';
import { envOf, NAMES, SETTINGS } from '../src/settings.js';
import { until } from './harness.js';
import { find } from './needs.js';
import { deployed as text } from './proxies.js';

const root = fileURLToPath(new URL('..', import.meta.url));
const manifest = JSON.parse(readFileSync(`${root}package.json`, 'utf8')) as {
  version: string;
  bin: Record<string, string>;
};

describe('read, not run', () => {
  const files = [
    ...['nginx.conf', 'haproxy.cfg', 'Caddyfile', 'Dockerfile', 'compose.yaml', 'tagwait.service'],
    ...['kubernetes/tagwait.yaml', 'apache.conf', 'varnish.vcl', 'squid.conf'],
    ...['helm/values.yaml', 'helm/templates/deployment.yaml'],
  ];

  test.each(files)('%s: every setting that it names exists', name => {
    const known = NAMES.map(envOf);
    const named = [...text(name).matchAll(/TAGWAIT_[A-Z_]+/g)].map(match => match[0]);
    expect(named.length).toBeGreaterThan(0);
    for (const setting of named) expect(known).toContain(setting);
  });

  test('Dockerfile: the files that it copies exist, it does not run as root, and it ends with a signal', () => {
    const instructions = DockerfileParser.parse(text('Dockerfile')).getInstructions();
    const lines = instructions.map(one => [one.getKeyword(), ...one.getArguments().map(String)]);
    const known = new Set(
      'FROM WORKDIR COPY RUN ENV USER EXPOSE HEALTHCHECK STOPSIGNAL ENTRYPOINT'.split(' '),
    );
    for (const [instruction = ''] of lines) expect(known).toContain(instruction);
    // the parser leaves out what is no instruction: then lines are missing
    const written = text('Dockerfile')
      .replace(/\\\n\s*/g, '')
      .split('\n');
    expect(lines.length).toBe(written.filter(line => line && !line.startsWith('#')).length);
    for (const one of instructions)
      if (one instanceof Copy && one.getFlags().length === 0)
        for (const source of one.getArguments().slice(0, -1))
          expect(existsSync(join(root, source.getValue())), source.getValue()).toBe(true);
    const last = (name: string) => {
      const found = instructions.filter(one => one.getKeyword() === name).at(-1);
      return found?.getArgumentsContent() ?? '';
    };
    expect(last('USER')).toBe('node');
    expect(JSON.parse(last('ENTRYPOINT'))).toEqual(['node', 'dist/cli.js']);
    expect(last('HEALTHCHECK')).toContain('/healthz');
    const ignored = text('Dockerfile.dockerignore');
    for (const source of ['package.json', 'package-lock.json', 'tsconfig.json', 'src', 'client'])
      expect(ignored).toContain(`!${source}\n`);
  });

  test.each([
    [{}, '127.0.0.1:11001'],
    [{ TAGWAIT_INTERNAL_HOST: '0.0.0.0', TAGWAIT_INTERNAL_PORT: '9000' }, '127.0.0.1:9000'],
    [{ TAGWAIT_INTERNAL_HOST: '::' }, '127.0.0.1:11001'],
    [{ TAGWAIT_INTERNAL_HOST: '[::]' }, '127.0.0.1:11001'],
    [{ TAGWAIT_INTERNAL_HOST: '172.17.0.2' }, '172.17.0.2:11001'],
    [{ TAGWAIT_INTERNAL_HOST: '::1' }, '[::1]:11001'],
    [{ TAGWAIT_INTERNAL_HOST: '[::1]' }, '[::1]:11001'],
    [{ TAGWAIT_INTERNAL_HOST: 'localhost' }, 'localhost:11001'],
  ])('the health check of the image with %o asks %s', (env, host) => {
    const folder = mkdtempSync(join(tmpdir(), 'tagwait-wget-'));
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
    writeFileSync(join(folder, 'wget'), '#!/bin/sh\nfor last; do :; done\necho "$last"\nexit 4\n', {
      mode: 0o755,
    });
    const [, command = ''] = /^HEALTHCHECK [^C]*CMD (.*?[^\\])$/ms.exec(text('Dockerfile')) ?? [];
    const { stdout, status } = spawnSync('sh', ['-c', command.replaceAll('\\\n', '')], {
      env: { PATH: `${folder}:${process.env.PATH}`, ...env },
      encoding: 'utf8',
    });
    expect([stdout.trim(), status]).toEqual([`http://${host}/healthz`, 1]);
  });

  interface Compose {
    services: Record<
      string,
      {
        image?: string;
        ports?: string[];
        network_mode?: string;
        environment?: Record<string, string>;
        stop_grace_period?: string;
        cap_drop?: string[];
        read_only?: boolean;
      }
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
      expect(node).toMatchObject({ read_only: true, cap_drop: ['ALL'] });
      expect(Number.parseInt(node?.stop_grace_period ?? '0', 10)).toBeGreaterThan(
        Number(node?.environment?.TAGWAIT_DRAIN),
      );
    }
    expect(Object.keys(services).sort()).toEqual(['net', 'nginx', 'one', 'redis', 'two']);
    for (const { image } of Object.values(services)) if (image) expect(image).toMatch(/:\d/);
    // pages come by way of nginx alone, and Redis and the internal ports are for this machine
    const open = Object.values(services).flatMap(({ ports = [] }) => ports);
    expect(open.filter(port => !port.startsWith('127.0.0.1:'))).toEqual(['443:443']);
  });

  test('Kubernetes: probes, ports and selectors belong together, and the grace covers the drain', () => {
    const documents = yaml('kubernetes/tagwait.yaml') as { kind: string; spec: Record<string, never> }[];
    const of = (kind: string) =>
      documents.filter(one => one.kind === kind).map(one => one.spec as never as Spec);
    interface Spec {
      selector: { app?: string; matchLabels?: { app: string } };
      ports: { targetPort: string }[];
      replicas: number;
      maxUnavailable: number;
      template: { metadata: { labels: object }; spec: Pod };
    }
    interface Pod {
      enableServiceLinks: boolean;
      terminationGracePeriodSeconds: number;
      securityContext: { runAsNonRoot: boolean };
      containers: {
        securityContext: object;
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
    expect(container.ports.map(port => port.containerPort)).toEqual(
      [SETTINGS.publicPort.fallback, SETTINGS.internalPort.fallback].map(Number),
    );
    expect(spec.securityContext.runAsNonRoot).toBe(true);
    // a Service named tagwait-internal would set TAGWAIT_INTERNAL_PORT
    expect(spec.enableServiceLinks).toBe(false);
    expect(container.securityContext).toMatchObject({
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ['ALL'] },
    });
    // else no node may ever be drained
    expect(of('PodDisruptionBudget')[0]?.maxUnavailable).toBeLessThan(deployment.replicas);
  });

  test('Kubernetes: a restart takes no node away too early, and the internal port is for backends alone', () => {
    const documents = yaml('kubernetes/tagwait.yaml') as Record<string, unknown>[];
    const one = (kind: string, name = 'tagwait') =>
      documents.find(({ kind: is, metadata }) => is === kind && (metadata as { name: string }).name === name);
    const app = { app: 'tagwait' };
    const [publicPort, internalPort] = [SETTINGS.publicPort.fallback, SETTINGS.internalPort.fallback].map(
      Number,
    );
    expect(one('Deployment')).toMatchObject({
      apiVersion: 'apps/v1',
      metadata: { labels: app },
      spec: {
        replicas: 2,
        selector: { matchLabels: app },
        strategy: { rollingUpdate: { maxSurge: 1, maxUnavailable: 0 } },
        template: {
          metadata: {
            annotations: { 'prometheus.io/scrape': 'true', 'prometheus.io/port': String(internalPort) },
          },
          spec: {
            securityContext: { runAsUser: 1000, seccompProfile: { type: 'RuntimeDefault' } },
            topologySpreadConstraints: [
              {
                maxSkew: 1,
                topologyKey: 'kubernetes.io/hostname',
                whenUnsatisfiable: 'ScheduleAnyway',
                labelSelector: { matchLabels: app },
              },
            ],
            containers: [
              {
                image: `tagwait:${manifest.version}`,
                envFrom: [{ secretRef: { name: 'tagwait' } }],
                ports: [
                  { name: 'public', containerPort: publicPort },
                  { name: 'internal', containerPort: internalPort },
                ],
              },
            ],
          },
        },
      },
    });
    const [container] = (one('Deployment') as never as { spec: { template: { spec: Pods } } }).spec.template
      .spec.containers;
    interface Pods {
      containers: [Container];
    }
    interface Probe {
      periodSeconds: number;
      failureThreshold: number;
    }
    interface Container {
      env: { name: string; value: string }[];
      readinessProbe: Probe;
      livenessProbe: Probe;
      lifecycle: { preStop: { exec: { command: string[] } } };
      resources: { requests: Record<string, string>; limits: Record<string, string> };
    }
    const env = Object.fromEntries(container.env.map(({ name, value }) => [name, value]));
    // its own pod reaches the ports by the pod's address; one proxy is before it; the drain is the default
    expect(env).toEqual({
      TAGWAIT_INTERNAL_HOST: '0.0.0.0',
      TAGWAIT_TRUST_PROXY: '1',
      TAGWAIT_DRAIN: SETTINGS.drain.fallback,
    });
    const notice = ({ periodSeconds, failureThreshold }: Probe) => periodSeconds * failureThreshold;
    const [command, before] = container.lifecycle.preStop.exec.command;
    expect(command).toBe('sleep');
    // the pod is off the Service before it begins to drain; it is not restarted for one slow answer
    expect(notice(container.readinessProbe)).toBeLessThan(Number(before));
    expect(container.livenessProbe.failureThreshold).toBeGreaterThan(1);
    expect(notice(container.livenessProbe)).toBeGreaterThanOrEqual(30);
    expect(container.resources).toEqual({
      requests: { cpu: '250m', memory: '256Mi' },
      limits: { memory: '1Gi' },
    });
    expect(one('Service')).toMatchObject({ spec: { selector: app, ports: [{ name: 'public', port: 80 }] } });
    expect(one('Service', 'tagwait-internal')).toMatchObject({
      spec: { selector: app, ports: [{ name: 'internal', port: internalPort }] },
    });
    expect(one('PodDisruptionBudget')).toMatchObject({
      apiVersion: 'policy/v1',
      spec: { maxUnavailable: 1 },
    });
    expect(one('NetworkPolicy')).toMatchObject({
      apiVersion: 'networking.k8s.io/v1',
      spec: {
        podSelector: { matchLabels: app },
        policyTypes: ['Ingress'],
        ingress: [
          { ports: [{ port: 'public' }] },
          {
            from: [{ podSelector: { matchLabels: { 'tagwait-backend': 'true' } } }],
            ports: [{ port: 'internal' }],
          },
        ],
      },
    });
    expect(
      (one('NetworkPolicy') as never as { spec: { ingress: object[] } }).spec.ingress[0],
    ).not.toHaveProperty('from');
  });

  test('compose.yaml: the nodes wait for Redis, which evicts nothing and keeps what it has; all start again', () => {
    const [{ services, volumes }] = yaml('compose.yaml') as [
      { services: Record<string, Record<string, unknown>>; volumes: object },
    ];
    const settings = {
      TAGWAIT_REDIS_URL: 'redis://redis:6379',
      TAGWAIT_INTERNAL_HOST: '0.0.0.0',
      TAGWAIT_TRUST_PROXY: '1',
      TAGWAIT_DRAIN: SETTINGS.drain.fallback,
      // Compose ends with this text when one is not given
      ...Object.fromEntries(
        ['TAGWAIT_SET_TOKENS', 'TAGWAIT_SECRET'].map(name => [
          name,
          `$\{${name}:?32 random characters or more}`,
        ]),
      ),
    };
    const node = {
      build: { context: '..', dockerfile: 'deploy/Dockerfile' },
      environment: settings,
      depends_on: { redis: { condition: 'service_healthy' } },
      ulimits: { nofile: 200_000 },
      security_opt: ['no-new-privileges:true'],
    };
    expect(services.one).toMatchObject(node);
    expect(services.two).toMatchObject({
      ...node,
      environment: { ...settings, TAGWAIT_PUBLIC_PORT: '11100', TAGWAIT_INTERNAL_PORT: '11101' },
    });
    for (const [name, { restart }] of Object.entries(services)) expect(restart, name).toBe('unless-stopped');
    expect(services.net?.ports).toEqual(['443:443', '127.0.0.1:11001:11001', '127.0.0.1:11101:11101']);
    const healthy = { condition: 'service_healthy' };
    expect(services.nginx).toMatchObject({
      network_mode: 'service:net',
      volumes: ['./nginx.conf:/etc/nginx/nginx.conf:ro', './tls:/etc/nginx/tls:ro'],
      ulimits: { nofile: 200_000 },
      depends_on: { one: healthy, two: healthy },
    });
    const {
      command,
      healthcheck,
      volumes: mounted,
    } = services.redis as never as {
      command: string[];
      healthcheck: { test: string[]; interval: string };
      volumes: string[];
    };
    const flags = command.join(' ');
    expect(flags).toBe('redis-server --appendonly yes --appendfsync everysec --maxmemory-policy noeviction');
    expect(healthcheck.test).toEqual(['CMD', 'redis-cli', 'ping']);
    expect(Number.parseInt(healthcheck.interval, 10)).toBeLessThanOrEqual(5);
    expect(mounted).toEqual(['redis:/data']);
    expect(Object.keys(volumes)).toEqual(['redis']);
  });

  test('nginx.conf: descriptors for two sides, connections that nginx closes first, small blocks', () => {
    const conf = text('nginx.conf').replace(/^ *#.*$/gm, '');
    const given = (name: string, within = conf) => new RegExp(`^ *${name} (.+);$`, 'm').exec(within)?.[1];
    const [, upstream = ''] = /upstream tagwait \{(.*?)\}/s.exec(conf) ?? [];
    const [, server = ''] = /\n {4}server \{(.*)/s.exec(conf) ?? [];
    const [, location = ''] = /location \/ \{(.*?)\}/s.exec(server) ?? [];
    expect(Number(given('worker_rlimit_nofile'))).toBe(2 * Number(given('worker_connections')));
    expect(upstream.match(/server .*;/g)).toEqual(
      [11_000, 11_100].map(port => `server 127.0.0.1:${port} max_fails=1 fail_timeout=1s;`),
    );
    expect(Number(given('keepalive', upstream))).toBeGreaterThanOrEqual(1000);
    // the service promises 65 s or more on an idle connection: the test in two-readers.test.ts
    expect(Number.parseInt(given('keepalive_timeout', upstream) ?? '', 10)).toBeLessThanOrEqual(60);
    // a page's connection is idle for no longer than a hold and a wait
    expect(Number.parseInt(given('keepalive_timeout', server) ?? '', 10)).toBeGreaterThan(
      Number(SETTINGS.hold.fallback),
    );
    expect(Number(given('keepalive_requests', server))).toBeGreaterThanOrEqual(1_000_000);
    expect(Number(given('http2_max_concurrent_streams', server))).toBeGreaterThanOrEqual(128);
    // what `npm run path -- --settings` found; a pool's size is a multiple of 16 bytes
    for (const [name, size] of [
      ['ssl_buffer_size', '4k'],
      ['request_pool_size', '1k'],
      ['http2_pool_size', '1k'],
    ] as const)
      expect(given(name, server), name).toBe(size);
    expect(server).toMatch(/listen 443 ssl http2;\s+listen \[::\]:443 ssl http2;/);
    expect(given('ssl_protocols', server)).toBe('TLSv1.2 TLSv1.3');
    expect(given('access_log', server)).toBe('off');
    expect(given('server_tokens')).toBe('off');
    for (const [name, value] of Object.entries({
      proxy_pass: 'http://tagwait',
      proxy_http_version: '1.1',
      // empty, and so not sent, but for a WebSocket
      'proxy_set_header Upgrade': '$upgrade',
      'proxy_set_header Connection': '$connection_header',
      'proxy_set_header Cookie': '$cookies',
      'proxy_set_header Host': '$host',
      'proxy_set_header X-Forwarded-For': '$proxy_add_x_forwarded_for',
      'proxy_set_header X-Forwarded-Proto': '$scheme',
      proxy_connect_timeout: '2s',
      proxy_next_upstream: 'error timeout',
      proxy_next_upstream_tries: '2',
      proxy_buffering: 'on',
      proxy_max_temp_file_size: '0',
      proxy_ignore_client_abort: 'off',
      proxy_cache: 'off',
    }))
      expect(given(name, location), name).toBe(value);
  });

  test('the systemd unit: the command, time to drain, a start again for all but wrong settings', () => {
    const unit = Object.fromEntries(
      text('tagwait.service')
        .split('\n')
        .flatMap(line => (/^[A-Z]/.test(line) ? [line.split(/=(.*)/s).slice(0, 2)] : [])),
    );
    expect(unit).toMatchObject({
      ExecStart: `/usr/bin/env ${Object.keys(manifest.bin)[0]}`,
      EnvironmentFile: '-/etc/tagwait.env',
      Restart: 'always',
      RestartSec: '1',
      // wrong settings: cli.test.ts
      RestartPreventExitStatus: '2',
      // workers are drained by their primary
      KillMode: 'mixed',
      After: 'network-online.target',
      Wants: 'network-online.target',
      WantedBy: 'multi-user.target',
      DynamicUser: 'yes',
      UMask: '0077',
      CapabilityBoundingSet: '',
      RestrictAddressFamilies: 'AF_INET AF_INET6 AF_UNIX',
      SystemCallArchitectures: 'native',
      SystemCallFilter: '@system-service',
      ProtectProc: 'invisible',
      ProtectSystem: 'strict',
    });
    const switches = Object.entries(unit).filter(([name]) =>
      /^(Protect|Private|Restrict|Lock|No)/.test(name),
    );
    const on = switches.filter(([, value]) => value === 'yes').map(([name]) => name);
    expect(on.sort()).toEqual([
      ...[
        'LockPersonality',
        'NoNewPrivileges',
        'PrivateDevices',
        'PrivateTmp',
        'PrivateUsers',
        'ProtectClock',
      ],
      ...[
        'ProtectControlGroups',
        'ProtectHome',
        'ProtectHostname',
        'ProtectKernelLogs',
        'ProtectKernelModules',
      ],
      ...['ProtectKernelTunables', 'RestrictNamespaces', 'RestrictRealtime', 'RestrictSUIDSGID'],
    ]);
    expect(Number(unit.TimeoutStopSec)).toBeGreaterThan(Number(SETTINGS.drain.fallback));
  });

  test('Helm: each value is used and given', () => {
    const templates = ['deployment', 'services', 'policies']
      .map(name => text(`helm/templates/${name}.yaml`))
      .join('\n---\n');
    const asked = new Set([...templates.matchAll(/\.Values\.(\w+)/g)].map(match => match[1]));
    const [values] = yaml('helm/values.yaml') as [{ drain: number; settings: object; image: object }];
    expect([...asked].sort()).toEqual(Object.keys(values).sort());
    const images = [...templates.matchAll(/\.Values\.image\.(\w+)/g)].map(match => match[1]);
    expect(images.sort()).toEqual(Object.keys(values.image).sort());
    expect(yaml('helm/Chart.yaml')[0]).toMatchObject({ name: 'tagwait', version, appVersion: version });
  });

  test('the systemd unit: every line is one of a section, and it may open many files', () => {
    const unit = text('tagwait.service')
      .split('\n')
      .filter(line => line && !line.startsWith('#'));
    for (const line of unit) expect(line).toMatch(/^(\[(Unit|Service|Install)\]|[A-Z]\w+=.*)$/);
    expect(unit).toContain('LimitNOFILE=200000');
    expect(unit).toContain('NoNewPrivileges=yes');
  });
});

/** Helm itself, from an npm package that carries its binary: Debian has none. */
const helm = find(['helm']);
if (!helm)
  console.log('Helm is not on this machine: its chart is not rendered (test/servers.sh installs it)');

describe.skipIf(!helm)('Helm', () => {
  interface Part {
    kind: string;
    metadata: { name: string; labels?: object };
    spec: object;
  }
  const chart = join(root, 'deploy/helm');
  /** The chart as Helm renders it. @param set values, as on its command line */
  const rendered = (release: string, ...set: string[]): Part[] => {
    const args = ['template', release, chart, ...set.flatMap(value => ['--set-string', value])];
    return parseAllDocuments(execFileSync(helm as string, args, { encoding: 'utf8' })).map(one => {
      expect(one.errors).toEqual([]);
      return one.toJS();
    });
  };

  test('lint finds no fault', () => {
    const { status, stdout } = spawnSync(helm as string, ['lint', '--strict', chart], { encoding: 'utf8' });
    expect(status, stdout).toBe(0);
  });

  test('with its default values it is the manifest, but for the labels', () => {
    const label = { 'app.kubernetes.io/name': 'tagwait', 'app.kubernetes.io/instance': 'tagwait' };
    const plain = (parts: Part[]) =>
      parts
        .map(({ kind, metadata: { name }, spec }) => {
          const same = JSON.stringify(spec).replaceAll(JSON.stringify(label), '{"app":"tagwait"}');
          return [kind, name, JSON.parse(same)] as const;
        })
        .sort(([one, name], [other, second]) => `${one} ${name}`.localeCompare(`${other} ${second}`));
    const parts = plain(rendered('tagwait'));
    const wanted = plain(parseAllDocuments(text('kubernetes/tagwait.yaml')).map(one => one.toJS() as Part));
    // the order of variables is free
    for (const [, , spec] of [...parts, ...wanted])
      for (const { env } of spec.template?.spec.containers ?? [])
        env.sort((one: { name: string }, other: { name: string }) => one.name.localeCompare(other.name));
    expect(parts).toEqual(wanted);
  });

  test.each([
    ['DRAIN', '30', 'give `drain`'],
    ['INTERNAL_HOST', '127.0.0.1', '0.0.0.0'],
    ['INTERNAL_PORT', '9001', '11001'],
    ['PUBLIC_HOST', '127.0.0.1', 'all addresses'],
    ['PUBLIC_PORT', '9000', '11000'],
  ])('refuses the setting TAGWAIT_%s, which would contradict the rest of the pod', (name, value, instead) => {
    const set = `settings.TAGWAIT_${name}=${value}`;
    const { status, stderr } = spawnSync(
      helm as string,
      ['template', 'tagwait', chart, '--set-string', set],
      { encoding: 'utf8' },
    );
    expect(status).not.toBe(0);
    expect(stderr).toContain(`settings.TAGWAIT_${name}: `);
    expect(stderr).toContain(instead);
  });

  /** The fault for which Helm renders nothing. @param set with the flag, as on its command line */
  const refused = (...set: string[]) => {
    const { status, stderr } = spawnSync(helm as string, ['template', 'tagwait', chart, ...set], {
      encoding: 'utf8',
    });
    expect(status, set.join(' ')).not.toBe(0);
    return stderr;
  };

  test('a list of peers takes the place of the default, and none is refused', () => {
    const prometheus = {
      namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'monitoring' } },
      podSelector: { matchLabels: { app: 'prometheus' } },
    };
    const peers = [{ podSelector: { matchLabels: { app: 'shop' } } }, prometheus];
    const args = ['template', 'tagwait', chart, '--set-json', `internalFrom=${JSON.stringify(peers)}`];
    const parts = parseAllDocuments(execFileSync(helm as string, args, { encoding: 'utf8' }));
    const policy = parts.map(one => one.toJS() as Part).find(({ kind }) => kind === 'NetworkPolicy');
    expect(policy?.spec).toMatchObject({
      ingress: [{ ports: [{ port: 'public' }] }, { from: peers, ports: [{ port: 'internal' }] }],
    });
    expect(refused('--set-json', 'internalFrom=[]')).toContain('internalFrom: name at least one peer');
  });

  test.each([
    ['--set', 'drain=soon', 'drain'],
    ['--set', 'replicas=-1', 'replicas'],
    ['--set', 'settings.hold=10', "'hold'"],
    ['--set', 'backends.app=shop', 'backends'],
    ['--set-json', 'internalFrom={"app":"shop"}', 'internalFrom'],
    ['--set-json', 'internalFrom=[{"matchLabels":{"app":"shop"}}]', 'internalFrom'],
  ])('refuses %s %s', (flag, value, name) => {
    expect(refused(flag, value)).toContain(name);
  });

  test('values arrive where they belong, and two releases do not meet', () => {
    const set = [
      'replicas=3',
      'drain=30',
      'preStop=7',
      'secret=mine',
      'image.repository=registry.test/tagwait',
    ];
    const parts = rendered('blue', ...set, 'image.tag=9', 'settings.TAGWAIT_HOLD=10');
    expect(parts.map(({ kind, metadata }) => `${kind} ${metadata.name}`).sort()).toEqual([
      ...['Deployment blue', 'NetworkPolicy blue', 'PodDisruptionBudget blue', 'Service blue'],
      'Service blue-internal',
    ]);
    const text = JSON.stringify(parts);
    expect(text).not.toContain('"app.kubernetes.io/instance":"tagwait"');
    expect(text.match(/"app.kubernetes.io\/instance":"blue"/g)?.length).toBeGreaterThan(5);
    expect(parts.find(({ kind }) => kind === 'Deployment')?.spec).toMatchObject({
      replicas: 3,
      template: {
        spec: {
          terminationGracePeriodSeconds: 52,
          containers: [
            {
              image: 'registry.test/tagwait:9',
              env: expect.arrayContaining([
                { name: 'TAGWAIT_DRAIN', value: '30' },
                { name: 'TAGWAIT_HOLD', value: '10' },
                { name: 'TAGWAIT_TRUST_PROXY', value: '1' },
              ]),
              envFrom: [{ secretRef: { name: 'mine' } }],
              lifecycle: { preStop: { exec: { command: ['sleep', '7'] } } },
            },
          ],
        },
      },
    });
  });
});

const analyze = find(['systemd-analyze']);
if (!analyze) console.log('systemd-analyze is not on this machine: its word on tagwait.service is left out');

test.skipIf(!analyze)('systemd-analyze finds no fault in the unit, and little that it may do', () => {
  const unit = join(root, 'deploy/tagwait.service');
  execFileSync(analyze as string, ['verify', unit], { stdio: 'pipe' });
  // in tenths, of 100; what is left is the network, which it is for
  const report = spawnSync(analyze as string, ['security', '--offline=yes', '--threshold=20', unit], {
    encoding: 'utf8',
  });
  expect(report.status, report.stdout + report.stderr).toBe(0);
});

/** Carries out the image's stages here, but for the base image and npm's part. */
test('the image has what it runs with: its stages carried out in empty folders', async () => {
  const folders = ['build', 'last'].map(name => join(mkdtempSync(join(tmpdir(), `tagwait-${name}-`)), 'app'));
  const [build, last] = folders as [string, string];
  onTestFinished(() => {
    for (const folder of folders) rmSync(dirname(folder), { recursive: true, force: true });
  });
  const stages = text('Dockerfile').split(/^FROM .*$/m);
  expect(stages.length).toBe(3);
  const copies = (stage = '') => [...stage.matchAll(/^COPY (?:--from=build )?(.+) (\S+)$/gm)];
  for (const [, sources = '', to = ''] of copies(stages[1]))
    for (const source of sources.split(' '))
      cpSync(join(root, source), join(build, to === './' ? source : to), { recursive: true });
  symlinkSync(join(root, 'node_modules'), join(build, 'node_modules'));
  expect(stages[1]).toContain('RUN npm run build');
  execFileSync('npm', ['run', 'build'], { cwd: build, stdio: 'pipe' });
  for (const [, source = '', to = ''] of copies(stages[2])) {
    const name = source.replace(/^\/build\//, '');
    cpSync(join(build, name), join(last, to === './' ? name : to), { recursive: true });
  }
  const child = spawn(process.execPath, ['dist/cli.js'], {
    cwd: last,
    env: { TAGWAIT_PUBLIC_PORT: '0', TAGWAIT_INTERNAL_PORT: '0', TAGWAIT_DRAIN: '3', TAGWAIT_DEMO: 'true' },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  onTestFinished(() => void child.kill('SIGKILL'));
  let output = '';
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', chunk => {
      output += chunk;
    });
  const ended = once(child, 'exit');
  const [pages, operators] = await until(
    () => {
      if (child.exitCode !== null) throw new Error(output);
      const line = /^tagwait .* public (\S+) internal (\S+)$/m.exec(output);
      return line && [line[1] as string, line[2] as string];
    },
    { within: 30_000 },
  );
  for (const url of [`${pages}/client.js`, `${pages}/demo`, `${operators}/`, `${operators}/readyz`])
    expect((await fetch(url)).status, url).toBe(200);
  child.kill('SIGTERM');
  expect(await ended).toEqual([0, null]);
});

test('docs/proxies.md and deploy/README.md name settings, files and times as they are', () => {
  for (const name of ['docs/proxies.md', 'deploy/README.md']) {
    const page = readFileSync(join(root, name), 'utf8');
    const settings = new Set(page.match(/TAGWAIT_[A-Z_]+/g));
    expect(
      [...settings].filter(setting => !NAMES.map(envOf).includes(setting)),
      name,
    ).toEqual([]);
    for (const [, path = ''] of page.matchAll(/\]\((\.\.\/[\w./-]+)\)/g))
      expect(existsSync(join(root, dirname(name), path)), path).toBe(true);
    for (const [, block = ''] of page.matchAll(/```yaml\n([\s\S]*?)```/g))
      for (const document of parseAllDocuments(block)) expect(document.errors).toEqual([]);
  }
  const named = readFileSync(join(root, 'deploy/README.md'), 'utf8');
  for (const file of readdirSync(join(root, 'deploy')).filter(name => name !== 'README.md'))
    expect(named, `deploy/${file} is in its README`).toContain(file);
  const said = Number(
    /`TAGWAIT_HOLD` and 15 s more: (\d+) s/.exec(readFileSync(join(root, 'docs/proxies.md'), 'utf8'))?.[1],
  );
  expect(said).toBe(Number(SETTINGS.hold.fallback) + 15);
  for (const [file, time] of [
    ['nginx.conf', /proxy_read_timeout (\d+)s/],
    ['haproxy.cfg', /timeout server (\d+)s/],
    ['Caddyfile', /response_header_timeout (\d+)s/],
  ] as const)
    expect(Number(time.exec(text(file))?.[1]), file).toBe(said);
});
