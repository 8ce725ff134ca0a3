/** What the operator's Prometheus reads, and whether the dashboard and the alerts ask for what is there. */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { held, poll, service, set, spawned, until } from './harness.js';
import { redisServer } from './redis.js';
import { scrape } from './scrape.js';

test('a set on one node and its answer on another: the time between is measured where it is answered', async () => {
  const { url } = await redisServer();
  const [here, there] = [
    await spawned({ TAGWAIT_REDIS_URL: url }),
    await spawned({ TAGWAIT_REDIS_URL: url }),
  ];
  const page = poll(here.publicUrl, { key: 'a' });
  await held(here.internalUrl, 'a', 1);
  await set(there.internalUrl, { key: 'a', value: 'with spaces 1 2' });
  expect((await page).data).toBe('with spaces 1 2');
  const [answering, setting] = [await scrape(here.internalUrl), await scrape(there.internalUrl)];
  expect(answering.get('tagwait_set_to_answer_seconds_count')).toBe(1);
  expect(answering.get('tagwait_set_to_answer_seconds_sum')).toBeLessThan(5);
  expect(setting.get('tagwait_set_to_answer_seconds_count')).toBe(0);
  expect(setting.get('tagwait_sets_total{result="stored"}')).toBe(1);
  expect(answering.get('tagwait_polls_total{mode="json"}')).toBe(1);
  expect(answering.get('tagwait_answers_total{mode="json",answer="success"}')).toBe(1);
  expect(answering.get('tagwait_watched_keys')).toBe(1);
  expect(answering.get('tagwait_leases')).toBe(1);
});

test('Redis away and back', async () => {
  const redis = await redisServer();
  const { internalUrl } = await service({ redisUrl: redis.url });
  expect((await scrape(internalUrl)).get('tagwait_store_up')).toBe(1);
  await redis.kill();
  await until(async () => (await scrape(internalUrl)).get('tagwait_store_up') === 0);
  await redis.start();
  await until(async () => (await scrape(internalUrl)).get('tagwait_store_up') === 1);
  const after = await scrape(internalUrl);
  expect(after.get('tagwait_store_returns_total')).toBe(1);
  expect(after.get('tagwait_gaps_total')).toBeGreaterThan(0);
});

test('limits and lost values', async () => {
  const { publicUrl, internalUrl } = await service({ history: 1, maxHeldPerKey: 1 });
  for (const value of [1, 2, 3]) await set(internalUrl, { key: 'a', value });
  expect((await poll(publicUrl, { key: 'a' })).lost).toBe(2);
  const page = poll(publicUrl, { key: 'b' });
  await held(internalUrl, 'b', 1);
  expect((await poll(publicUrl, { key: 'b' })).code).toBe(-3);
  const samples = await scrape(internalUrl);
  expect(samples.get('tagwait_lost_values_total')).toBe(2);
  expect(samples.get('tagwait_limits_reached_total{limit="held_per_key"}')).toBe(1);
  expect(samples.get('tagwait_held')).toBe(1);
  await set(internalUrl, { key: 'b', value: 1 });
  await page;
});

describe('the dashboard and the alerts', () => {
  const text = (name: string) => readFileSync(new URL(`../deploy/${name}`, import.meta.url), 'utf8');
  interface Panel {
    title: string;
    description?: string;
    gridPos: { x: number; y: number; w: number; h: number };
    targets?: { expr: string }[];
  }
  const { panels } = JSON.parse(text('grafana.json')) as { panels: Panel[] };
  const rules = (
    parse(text('alerts.yml')) as {
      groups: { rules: { alert: string; expr: string; for: string; annotations: { summary: string } }[] }[];
    }
  ).groups.flatMap(group => group.rules);
  const queries = [
    ...panels.flatMap(({ title, targets = [] }) => targets.map(({ expr }) => [title, expr] as const)),
    ...rules.map(({ alert, expr }) => [alert, expr] as const),
  ];
  /** Metrics that a query names, each with the labels that it asks for. */
  const metricsIn = (expr: string) =>
    [...expr.matchAll(/\b((?:tagwait|process|nodejs)_\w+)(?:\{([^}]*)\})?/g)].map(
      ([, name = '', labels = '']) => ({
        name,
        labels: [...labels.matchAll(/(\w+)(=~|!~|!=|=)"([^"]*)"/g)]
          .map(([, label = '', how = '', value = '']) => ({ label, how, value }))
          .filter(({ label }) => !['job', 'instance'].includes(label)),
      }),
    );

  test('every query asks for metrics and labels that a real scrape has', async () => {
    const { publicUrl, internalUrl } = await service({ maxHeldPerKey: 1, history: 1 });
    // everything that a query looks for has happened once
    const page = poll(publicUrl, { key: 'a' });
    await held(internalUrl, 'a', 1);
    await poll(publicUrl, { key: 'a' });
    await set(internalUrl, { key: 'a', value: 1 });
    await page;
    const samples = [...(await scrape(internalUrl)).keys()];
    for (const [title, expr] of queries) {
      const asked = metricsIn(expr);
      expect(asked, `${title}: ${expr}`).not.toEqual([]);
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

  test('an alert says what is wrong and waits until it stays so', () => {
    for (const { alert, for: time, annotations } of rules) {
      expect(time, alert).toMatch(/^\d+[smh]$/);
      expect(annotations.summary, alert).toMatch(/\w/);
    }
    expect(rules.length).toBeGreaterThan(4);
  });
});
