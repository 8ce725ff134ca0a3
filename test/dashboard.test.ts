/** deploy/grafana.json and deploy/alerts.yml against real nodes, scraped by a real Prometheus where there is one. */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, onTestFinished, test } from 'vitest';
import { parse, stringify } from 'yaml';
import { held, poll, type Spawned, service, set, spawned, until } from './harness.js';
import { deployed, program } from './proxies.js';
import { freePort, redisServer } from './redis.js';
import { scrape } from './scrape.js';

interface Panel {
  title: string;
  description?: string;
  gridPos: { x: number; y: number; w: number; h: number };
  targets?: { expr: string }[];
  fieldConfig?: { defaults: { unit?: string } };
}
interface Rule {
  alert: string;
  expr: string;
  for: string;
  labels: Record<string, string>;
  annotations: { summary: string; description?: string };
}
const { panels } = JSON.parse(deployed('grafana.json')) as { panels: Panel[] };
const rules = (parse(deployed('alerts.yml')) as { groups: { rules: Rule[] }[] }).groups.flatMap(
  group => group.rules,
);
const queries = [
  ...panels.flatMap(({ title, targets = [] }) => targets.map(({ expr }) => [title, expr] as const)),
  ...rules.map(({ alert, expr }) => [alert, expr] as const),
];
const ALERTS = fileURLToPath(new URL('../deploy/alerts.yml', import.meta.url));
const prometheus = program('prometheus');
const promtool = program('promtool');
if (!prometheus || !promtool)
  console.log(
    'Prometheus is not on this machine: its own word on queries and alerts is left out (apt-get install prometheus)',
  );

/** Metrics that a query names, each with the labels that it asks for; `up` is Prometheus' own. */
const metricsIn = (expr: string) =>
  [...expr.matchAll(/\b((?:tagwait|process|nodejs)_\w+)(?:\{([^}]*)\})?/g)].map(
    ([, name = '', labels = '']) => ({
      name,
      labels: [...labels.matchAll(/(\w+)(=~|!~|!=|=)"([^"]*)"/g)]
        .map(([, label = '', how = '', value = '']) => ({ label, how, value }))
        .filter(({ label }) => !['job', 'instance'].includes(label)),
    }),
  );

/** Everything that a query looks for, once: a value, a refusal, a set and a question to the store. One page may be held. */
async function live({ publicUrl, internalUrl }: Pick<Spawned, 'publicUrl' | 'internalUrl'>, key: string) {
  const page = poll(publicUrl, { key });
  await held(internalUrl, key, 1);
  expect(await poll(publicUrl, { key: `${key}-more` })).toMatchObject({ message: 'busy' });
  await set(internalUrl, { key, value: 1 });
  await page;
}

test('every query asks for metrics and labels that a real scrape has', async () => {
  const node = await service({ maxHeldPerIp: 1, history: 1 });
  await live(node, 'a');
  const samples = [...(await scrape(node.internalUrl)).keys()];
  for (const [title, expr] of queries) {
    const asked = metricsIn(expr);
    if (!/\bup\{/.test(expr)) expect(asked, `${title}: ${expr}`).not.toEqual([]);
    for (const { name, labels } of asked) {
      const having = samples.filter(sample => sample.replace(/\{.*/, '') === name);
      expect(having, `${title} asks for ${name}`).not.toEqual([]);
      for (const { label, how, value } of labels) {
        const known = having.map(sample => new RegExp(`[{,]${label}="([^"]*)"`).exec(sample)?.[1]);
        expect(known, `${title} asks for ${name} by ${label}`).not.toContain(undefined);
        if (how === '=') expect(known, `${title}: ${label}="${value}"`).toContain(value);
      }
    }
  }
});

test('every metric of ours is on a panel', async () => {
  const { internalUrl } = await service();
  const text = await (await fetch(`${internalUrl}/metrics`)).text();
  const ours = [...text.matchAll(/^# TYPE (tagwait_\w+)/gm)].map(match => match[1] as string);
  const shown = queries.map(([, expr]) => expr).join('\n');
  expect(ours.filter(name => !shown.includes(name))).toEqual([]);
});

test('panels have titles of their own, say what they mean, and do not cover one another', () => {
  expect(new Set(panels.map(panel => panel.title)).size).toBe(panels.length);
  const cells = panels.flatMap(({ gridPos: { x, y, w, h } }) =>
    Array.from({ length: w * h }, (_, cell) => `${x + (cell % w)},${y + Math.floor(cell / w)}`),
  );
  expect(new Set(cells).size).toBe(cells.length);
  for (const { title, description } of panels) expect(description, title).toMatch(/\w/);
});

/** The unit of what a query asks for, by the names of its metrics: they end in theirs. */
function unitOf(expr: string): string {
  // seconds of CPU a second are cores
  if (/process_cpu_seconds_total/.test(expr)) return 'short';
  if (/histogram_quantile|_sum\b.+_count\b/.test(expr)) return /_seconds_/.test(expr) ? 's' : 'short';
  if (/\b(?:changes|increase|count)\b/.test(expr)) return 'short';
  if (/\brate\(/.test(expr)) return 'ops';
  if (/ \/ /.test(expr)) return 'percentunit';
  return /_seconds\b/.test(expr) ? 's' : /_bytes\b/.test(expr) ? 'bytes' : 'short';
}

test('panels are in the unit of what they ask for', () => {
  for (const { title, targets = [], fieldConfig } of panels)
    for (const { expr } of targets)
      expect(fieldConfig?.defaults.unit, `${title}: ${expr}`).toBe(unitOf(expr));
  for (const { alert, expr } of rules.filter(({ expr }) => /_seconds_bucket.* > /.test(expr)))
    expect(Number(/ > ([\d.]+)$/.exec(expr)?.[1]), alert).toBeLessThanOrEqual(10);
});

test('an alert says what is wrong and waits until it stays so', () => {
  for (const { alert, for: time, annotations, labels } of rules) {
    // minutes, or nobody hears of a failure while it can still be helped
    expect(time, alert).toMatch(/^[1-5]m$/);
    expect(annotations.summary, alert).toMatch(/\w/);
    expect(['page', 'ticket']).toContain(labels.severity);
  }
  expect(rules.length).toBeGreaterThan(4);
});

interface Answer {
  data: {
    result: { metric: Record<string, string>; value: [number, string] }[];
    groups: { rules: { name: string; health: string; state: string; lastError?: string }[] }[];
  };
}

/** A Prometheus that scrapes these every second; ended with the test. @returns asks its API */
async function scraped(nodes: Spawned[]) {
  const folder = mkdtempSync(join(tmpdir(), 'tagwait-prometheus-'));
  const port = await freePort();
  const targets = nodes.map(node => new URL(node.internalUrl).host);
  const config = {
    global: { scrape_interval: '1s', scrape_timeout: '1s', evaluation_interval: '1s' },
    rule_files: [ALERTS],
    scrape_configs: [{ job_name: 'tagwait', static_configs: [{ targets }] }],
  };
  writeFileSync(join(folder, 'prometheus.yml'), stringify(config));
  const at = `127.0.0.1:${port}`;
  const child = spawn(
    prometheus as string,
    [
      `--config.file=${join(folder, 'prometheus.yml')}`,
      `--storage.tsdb.path=${join(folder, 'data')}`,
      `--web.listen-address=${at}`,
    ],
    { stdio: 'ignore' },
  );
  const ended = once(child, 'exit');
  onTestFinished(async () => {
    child.kill('SIGKILL');
    await ended;
    rmSync(folder, { recursive: true, force: true });
  });
  await until(
    async () => {
      if (child.exitCode !== null) throw new Error(`prometheus ended: ${child.exitCode}`);
      return fetch(`http://${at}/-/ready`).then(
        reply => reply.ok,
        () => false,
      );
    },
    { within: 30_000, every: 100 },
  );
  return async (path: string): Promise<Answer['data']> =>
    ((await (await fetch(`http://${at}/api/v1/${path}`)).json()) as Answer).data;
}

test.skipIf(!prometheus)(
  'Prometheus has a number for every panel, and an alert sees that Redis is away',
  {
    timeout: 300_000,
  },
  async () => {
    const redis = await redisServer();
    const env = { TAGWAIT_REDIS_URL: redis.url, TAGWAIT_MAX_HELD_PER_IP: '1' };
    const nodes = [await spawned(env), await spawned(env)];
    const ask = await scraped(nodes);
    const pages = panels.flatMap(({ title, targets = [] }) =>
      targets.map(({ expr }) => ({
        title,
        expr: expr.replaceAll('$job', 'tagwait').replaceAll('$__rate_interval', '30s'),
      })),
    );
    let round = 0;
    const without = async () => {
      // something happens all the while, or nothing would have a rate
      for (const node of nodes) await live(node, `key-${round++}`);
      const empty: string[] = [];
      for (const { title, expr } of pages) {
        const { result } = await ask(`query?query=${encodeURIComponent(expr)}`);
        const numbers = (result ?? []).filter(({ value }) => Number.isFinite(Number(value[1])));
        if (numbers.length === 0) empty.push(`${title}: ${expr}`);
      }
      return empty;
    };
    let empty: string[] = [];
    await until(
      async () => {
        empty = await without();
        return empty.length === 0;
      },
      { within: 40_000, every: 500 },
    ).catch(() => expect(empty).toEqual([]));

    const states = async () => (await ask('rules')).groups.flatMap(group => group.rules);
    for (const { name, health, state, lastError } of await states()) {
      expect(health, `${name} ${lastError}`).toBe('ok');
      if (name !== 'TagwaitFull') expect(state, name).toBe('inactive');
    }
    await redis.kill();
    await until(
      async () => (await states()).find(({ name }) => name === 'TagwaitStoreAway')?.state === 'pending',
      { within: 30_000, every: 200 },
    );
  },
);

interface Trouble {
  severity: 'page' | 'ticket';
  /** minutes from its begin until the alert goes off */
  after: number;
  /** a sample a minute */
  series: Record<string, string>;
}
/** For each alert, what makes it go off, its severity, and when. A rate has its first number after a minute. */
const TROUBLE: Record<string, Trouble> = {
  TagwaitNoNode: {
    severity: 'page',
    after: 1,
    series: { 'tagwait_ready{job="tagwait",instance="a"}': '0x60' },
  },
  TagwaitNodeGone: {
    severity: 'ticket',
    after: 5,
    series: { 'up{job="tagwait",instance="a"}': '0x60' },
  },
  TagwaitStoreAway: {
    severity: 'page',
    after: 1,
    series: { 'tagwait_store_up{job="tagwait",instance="a"}': '0x60' },
  },
  TagwaitSetsRefused: {
    severity: 'page',
    after: 6,
    series: { 'tagwait_sets_total{job="tagwait",result="unavailable"}': '0+1x60' },
  },
  TagwaitSlow: {
    severity: 'page',
    after: 6,
    series: {
      'tagwait_set_to_answer_seconds_bucket{job="tagwait",le="1"}': '0x60',
      'tagwait_set_to_answer_seconds_bucket{job="tagwait",le="2"}': '0+60x60',
      'tagwait_set_to_answer_seconds_bucket{job="tagwait",le="+Inf"}': '0+60x60',
    },
  },
  TagwaitFull: {
    severity: 'page',
    after: 3,
    series: { 'tagwait_limits_reached_total{job="tagwait",instance="a",limit="held"}': '0+6x60' },
  },
  TagwaitDescriptorsShort: {
    severity: 'page',
    after: 5,
    series: {
      'process_open_fds{job="tagwait",instance="a"}': '91x60',
      'process_max_fds{job="tagwait",instance="a"}': '100x60',
    },
  },
  TagwaitValuesLost: {
    severity: 'ticket',
    after: 2,
    series: { 'tagwait_lost_values_total{job="tagwait"}': '0+1x60' },
  },
};
const WELL = {
  'up{job="tagwait",instance="a"}': '1x60',
  'tagwait_ready{job="tagwait",instance="a"}': '1x60',
  'tagwait_store_up{job="tagwait",instance="a"}': '1x60',
  'tagwait_sets_total{job="tagwait",result="unavailable"}': '3x60',
  'tagwait_set_to_answer_seconds_bucket{job="tagwait",le="1"}': '0+60x60',
  'tagwait_set_to_answer_seconds_bucket{job="tagwait",le="2"}': '0+60x60',
  'tagwait_set_to_answer_seconds_bucket{job="tagwait",le="+Inf"}': '0+60x60',
  'tagwait_limits_reached_total{job="tagwait",instance="a",limit="held"}': '5x60',
  'process_open_fds{job="tagwait",instance="a"}': '89x60',
  'process_max_fds{job="tagwait",instance="a"}': '100x60',
  'tagwait_lost_values_total{job="tagwait"}': '2x60',
};

test.skipIf(!promtool).each(['tagwait', 'kubernetes-pods'])(
  'as the job %s each alert goes off at its trouble, and none when all is well',
  job => {
    expect(Object.keys(TROUBLE).sort()).toEqual(rules.map(rule => rule.alert).sort());
    const folder = mkdtempSync(join(tmpdir(), 'tagwait-alerts-'));
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
    const series = (values: Record<string, string>) =>
      Object.entries({ ...WELL, ...values }).map(([name, numbers]) => ({
        series: name.replace('job="tagwait"', `job="${job}"`),
        values: numbers,
      }));
    const firing = 'count by (alertname, severity) (ALERTS{alertstate="firing"}) > 0';
    const at = (minute: number, names: string[]) => ({
      expr: firing,
      eval_time: `${minute}m`,
      exp_samples: names.map(name => ({
        labels: `{alertname="${name}",severity="${TROUBLE[name]?.severity}"}`,
        value: 1,
      })),
    });
    const seen = (values: Record<string, string>, promql_expr_test: object[]) => ({
      interval: '1m',
      input_series: series(values),
      promql_expr_test,
    });
    const tests = [
      { ...seen({}, [at(12, ['TagwaitNoNode'])]), input_series: [] },
      seen({}, [at(12, [])]),
      // one deployment goes down, and another one of the same Prometheus stays up
      ...['0x60', '1x3 _x60'].map(ready =>
        seen(
          {
            'tagwait_ready{job="tagwait",instance="a"}': ready,
            'tagwait_ready{job="staging",instance="b"}': '1x60',
          },
          [at(12, ['TagwaitNoNode'])],
        ),
      ),
      ...Object.entries(TROUBLE).map(([alert, { series: values, after }]) =>
        seen(values, [at(after - 1, []), at(after, [alert]), at(12, [alert])]),
      ),
    ];
    const file = join(folder, 'test.yml');
    writeFileSync(file, stringify({ rule_files: [ALERTS], evaluation_interval: '1m', tests }));
    execFileSync(promtool as string, ['check', 'rules', ALERTS], { stdio: 'pipe' });
    execFileSync(promtool as string, ['test', 'rules', file], { stdio: 'pipe' });
  },
);
