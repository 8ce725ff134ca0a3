/** One service of several processes: started, asked, killed and stopped from outside, over a real Redis. */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { Agent, get } from 'node:http';
import { createServer } from 'node:net';
import { describe, expect, test } from 'vitest';
import { poll, run, type Spawned, set, spawned, until } from './harness.js';
import { onTestFinished, sideBySide } from './owner.js';
import { freePort, redisServer } from './redis.js';
import { scrape } from './scrape.js';

sideBySide();

const WORKERS = 3;

async function cluster(env: Record<string, string> = {}): Promise<Spawned> {
  const redis = await redisServer();
  // no hold ends before its test, also on a busy machine
  const more = { TAGWAIT_WORKERS: String(WORKERS), TAGWAIT_HOLD: '300' };
  return spawned({ TAGWAIT_REDIS_URL: redis.url, ...more, ...env });
}

/** On a connection of its own, so that another worker may answer. */
function fresh(url: string): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const request = get(url, { agent: new Agent() }, async response => {
      let text = '';
      for await (const part of response) text += part;
      resolve({ status: response.statusCode as number, text });
    });
    request.on('error', reject);
  });
}
const asking = (publicUrl: string, key: string, more = '') =>
  fresh(`${publicUrl}/status/get?key=${key}${more}`).then(({ text }) => JSON.parse(text));

/** Pages that ask until they hear a value, a moment after an answer without one and after a broken poll, as the script does. */
function pagesOf(
  publicUrl: string,
  count: number,
): { values: unknown[]; last: unknown[]; over: Promise<unknown> } {
  let finished = false;
  onTestFinished(() => {
    finished = true;
  });
  const values: unknown[] = [];
  /** of each page, what it was answered before it asked again */
  const last: unknown[] = Array(count).fill('nothing yet');
  const page = async (number: number) => {
    while (!finished) {
      const reply = await asking(publicUrl, `k${number % 6}`).catch((error: Error) => error.message);
      last[number] = reply;
      if (reply.code === 0) return values.push(reply.data);
      await new Promise(resolve => setTimeout(resolve, 50));
    }
  };
  return { values, last, over: Promise.all(Array.from({ length: count }, (_, number) => page(number))) };
}

interface Line {
  level: number;
  msg: string;
  time: string;
  node: string;
  pid?: number;
  seconds?: number;
  again?: number;
}
const lines = ({ output }: Pick<Spawned, 'output'>) =>
  output.stderr
    .split('\n')
    .filter(line => line.startsWith('{'))
    .map(line => JSON.parse(line) as Line);
const pids = (child: Pick<Spawned, 'output'>) => [
  ...new Set(lines(child).flatMap(({ msg, pid }) => (msg === 'a worker listens' && pid ? [pid] : []))),
];
const nodes = async (internalUrl: string) =>
  (JSON.parse((await fresh(`${internalUrl}/nodes`)).text) as { nodes: { id: string; held: number }[] }).nodes;
const heldBy = async (internalUrl: string) => (await nodes(internalUrl)).map(({ held }) => held);
/** Of every worker: one that is late to reply on a busy machine is missing in /nodes. */
const spreadOf = (internalUrl: string): Promise<number[]> =>
  until(async () => {
    const spread = await heldBy(internalUrl);
    return spread.length === WORKERS && spread;
  });
/** @param last of each page, what it was answered last */
function allHeld(internalUrl: string, count: number, last: unknown[] = []): Promise<unknown> {
  let held: number[] = [];
  const all = async () => {
    held = await heldBy(internalUrl);
    return held.reduce((sum, one) => sum + one, 0) === count;
  };
  return until(all, { seen: () => ({ count, held, last }) });
}
const alive = (pid: number) => {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
};

describe('as one', () => {
  test('one line when all listen; every worker has its pages; set on any, heard on all; one metrics page', async () => {
    const service = await cluster();
    const { publicUrl, internalUrl, output } = service;
    expect(output.stdout).toBe(`tagwait 0.1.0 public ${publicUrl} internal ${internalUrl}\n`);
    expect(pids(service)).toHaveLength(WORKERS);

    const count = 60;
    const pages: Promise<{ data: unknown }>[] = [];
    // one after the other: of many connections at once, the worker that is the quickest gets the most
    for (let page = 0; page < count; page++) {
      pages.push(asking(publicUrl, `k${page % 6}`));
      for (const given of pages) given.catch(() => {});
      if (page % WORKERS === WORKERS - 1) await allHeld(internalUrl, page + 1);
    }
    const spread = await spreadOf(internalUrl);
    // the questions of this test are dealt out too
    for (const held of spread) expect(held).toBeGreaterThan(count / WORKERS / 3);

    for (let time = 0; time < 2 * WORKERS; time++)
      expect((await scrape(internalUrl)).get('tagwait_held')).toBe(count);
    for (let key = 0; key < 6; key++) await set(internalUrl, { key: `k${key}`, value: key });
    expect((await Promise.all(pages)).map(reply => reply.data)).toEqual(
      Array.from({ length: count }, (_, page) => page % 6),
    );
    const samples = await scrape(internalUrl);
    const sum = (start: string) =>
      [...samples].filter(([name]) => name.startsWith(start)).reduce((all, [, value]) => all + value, 0);
    expect(samples.get('tagwait_ready')).toBe(1);
    expect(samples.get('tagwait_store_up')).toBe(1);
    expect(samples.get('tagwait_polls_total{mode="json"}')).toBe(count);
    expect(samples.get('tagwait_sets_total{result="stored"}')).toBe(6);
    expect(samples.get('tagwait_set_to_answer_seconds_count')).toBe(count);
    expect(samples.get('tagwait_set_to_answer_seconds_bucket{le="+Inf"}')).toBe(count);
    expect(sum('tagwait_info')).toBe(WORKERS);
    // each line names its process: a worker or the primary
    expect(new Set(lines(service).map(({ node }) => node)).size).toBe(WORKERS + 1);
  });

  test('the live page works whichever worker answers: one key, one feed, the sums of all', async () => {
    const { publicUrl, internalUrl } = await cluster();
    for (let page = 0; page < 12; page++) void asking(publicUrl, `k${page}`).catch(() => {});
    await allHeld(internalUrl, 12);
    const looks = new Map<string, { key: string }>();
    await until(async () => {
      const look = JSON.parse((await fresh(`${internalUrl}/live`)).text);
      if (look.samples.at(-1)?.held === 12) looks.set(look.node.id, look);
      return looks.size === WORKERS;
    });
    const [key = '', ...others] = new Set([...looks.values()].map(look => look.key));
    expect(others).toEqual([]);
    for (let time = 0; time < WORKERS; time++) {
      const reply = await asking(internalUrl, key);
      expect(reply).toMatchObject({ code: 0, data: { sample: { held: 12, ready: true } } });
    }
    expect((await fresh(`${internalUrl}/`)).text).toContain('<html');
  });

  test('a start while pages retry: each worker gets its share', async () => {
    const [open, internal] = [await freePort(), await freePort()];
    const { last } = pagesOf(`http://127.0.0.1:${open}`, 60);
    const { internalUrl } = await cluster({
      TAGWAIT_PUBLIC_PORT: String(open),
      TAGWAIT_INTERNAL_PORT: String(internal),
    });
    await allHeld(internalUrl, 60, last);
    const spread = await spreadOf(internalUrl);
    for (const held of spread) expect(held, `${spread}`).toBeGreaterThan(60 / WORKERS / 3);
  });

  test("an address's limits are shared out: together they are what was set", async () => {
    const { publicUrl, internalUrl } = await cluster({ TAGWAIT_MAX_HELD_PER_IP: '12' });
    let refused = 0;
    let over = false;
    onTestFinished(() => {
      over = true;
    });
    // a refused client retries on another connection, which may reach another worker, and so does one that was cut: of
    // several that come at once, one worker may get too many
    const page = async (key: string): Promise<void> => {
      const reply = await asking(publicUrl, key).catch(() => ({ code: -3 }));
      if (reply.code !== -3 || over) return;
      refused++;
      await page(key);
    };
    for (let number = 0; number < 13; number++) void page(`k${number}`);
    // a refused one is counted too while Redis is asked for its key
    const shared = () =>
      until(async () => (await heldBy(internalUrl)).join() === '4,4,4', { seen: () => ({ refused }) });
    await shared();
    const before = refused;
    await until(() => refused > before + 6);
    await shared();
  });
});

describe('a worker is killed', () => {
  test('another takes its place, its pages are back on the others, and no count goes down', async () => {
    const service = await cluster();
    const { publicUrl, internalUrl } = service;
    const { values, last, over } = pagesOf(publicUrl, 30);
    await allHeld(internalUrl, 30, last);
    // polls that nobody asks again, a few of each worker: what went with the dead one would be missing for good
    for (let poll = 0; poll < 4 * WORKERS; poll++)
      await fresh(`${publicUrl}/status/get?key=none&hold=0&callback=cb`);
    const before = await scrape(internalUrl);
    expect(before.get('tagwait_polls_total{mode="callback"}')).toBe(4 * WORKERS);
    const [victim] = pids(service) as [number];
    const others = pids(service).slice(1);
    process.kill(victim, 'SIGKILL');
    await until(() => lines(service).some(({ msg, pid }) => msg === 'a worker died' && pid === victim));
    await allHeld(internalUrl, 30, last);
    await until(() => pids(service).length === WORKERS + 1);
    await until(async () => (await nodes(internalUrl)).length === WORKERS);
    expect(others.every(alive)).toBe(true);
    const after = await scrape(internalUrl);
    expect(after.get('tagwait_polls_total{mode="callback"}')).toBe(4 * WORKERS);
    for (const name of ['tagwait_polls_total{mode="json"}', 'process_cpu_seconds_total'])
      expect(after.get(name), name).toBeGreaterThanOrEqual(before.get(name) as number);
    for (let key = 0; key < 6; key++) await set(internalUrl, { key: `k${key}`, value: key });
    await over;
    expect(values).toHaveLength(30);
    // killed again in its first minute: the next waits longer
    process.kill(pids(service).at(-1) as number, 'SIGKILL');
    await until(() => pids(service).length === WORKERS + 2);
    const waits = lines(service).flatMap(({ msg, again }) => (msg === 'a worker died' ? [again] : []));
    expect(waits).toEqual([100, 200]);
    expect(service.output.stdout.trim().split('\n')).toHaveLength(1);
  });

  test('all are killed at once: the ports stay, and clients that connect meanwhile are answered', async () => {
    const service = await cluster();
    const { internalUrl } = service;
    for (const pid of pids(service)) process.kill(pid, 'SIGKILL');
    await until(() => lines(service).filter(({ msg }) => msg === 'a worker died').length === WORKERS);
    expect((await fresh(`${internalUrl}/healthz`)).status).toBe(200);
    await until(() => pids(service).length === 2 * WORKERS);
    expect(lines(service).filter(({ msg }) => msg === 'a worker died')).toHaveLength(WORKERS);
  });

  test('the primary is killed: no worker is left behind, but one that is stopped, which the next start names', async () => {
    const service = await cluster();
    const [stopped = 0, ...others] = pids(service);
    process.kill(stopped, 'SIGSTOP');
    onTestFinished(() => {
      if (alive(stopped)) process.kill(stopped, 'SIGKILL');
    });
    service.process.kill('SIGKILL');
    await until(() => !others.some(alive));
    const next = run([], {
      TAGWAIT_PUBLIC_PORT: new URL(service.publicUrl).port,
      TAGWAIT_INTERNAL_PORT: new URL(service.internalUrl).port,
    });
    expect(await next.ended).toBe(1);
    expect(next.output.stderr).toMatch(new RegExp(`is taken .* earlier start: pid (\\d+, )*${stopped}\\b`));
    process.kill(stopped, 'SIGKILL');
    await until(() => !alive(stopped));
  });
});

describe.concurrent('a worker hangs', () => {
  test('it is named, killed and replaced; until then the others answer; a stopped primary kills none', async () => {
    const service = await cluster({ TAGWAIT_WORKERS: '2' });
    const paused = await cluster({ TAGWAIT_WORKERS: '2' });
    const { publicUrl, internalUrl } = service;
    const { values, last, over } = pagesOf(publicUrl, 12);
    await allHeld(internalUrl, 12, last);
    const [victim] = pids(service) as [number];
    const stoppedAt = performance.now();
    process.kill(victim, 'SIGSTOP');
    paused.process.kill('SIGSTOP');
    const metrics = fresh(`${paused.internalUrl}/metrics`).then(({ status, text }) => [
      status,
      /^tagwait_ready 1$/m.test(text),
    ]);
    const hangs = () => lines(service).find(({ msg }) => msg.startsWith('a worker hangs'));
    const results: unknown[] = [];
    for (let number = 0; number < 8; number++)
      void fresh(internalUrl + (number % 2 === 0 ? '/metrics' : '/readyz')).then(
        ({ status }) => results.push(hangs() ? 'late' : status),
        () => results.push('cut'),
      );
    const line = await until(hangs);
    // it is said after eleven heartbeats of a second
    expect(performance.now() - stoppedAt).toBeGreaterThan(5000);
    expect(performance.now() - stoppedAt).toBeLessThan(20_000);
    expect(line).toMatchObject({ pid: victim, level: 50, seconds: 11 });
    await until(() => results.length === 8);
    expect(results, 'the others accept all').toEqual(Array(8).fill(200));

    await until(() => pids(service).length === 3);
    expect(alive(victim)).toBe(false);
    await allHeld(internalUrl, 12, last);
    for (let key = 0; key < 6; key++) await set(internalUrl, { key: `k${key}`, value: key });
    await over;
    expect(values).toHaveLength(12);

    expect(await Promise.race([metrics, 'no answer yet'])).toEqual([200, true]);
    const silent = () => lines(paused).filter(({ msg }) => msg.startsWith('the primary does not answer'));
    expect(silent()).toHaveLength(1);
    paused.process.kill('SIGCONT');
    const continuedAt = performance.now();
    await until(() => performance.now() - continuedAt > 2500);
    expect((await fresh(`${paused.internalUrl}/readyz`)).status).toBe(200);
    expect(lines(paused).filter(({ msg }) => /hangs|died/.test(msg))).toEqual([]);
    expect(pids(paused)).toHaveLength(2);
  });

  test('the drain keeps its time, also when Redis hangs, and nothing is left behind', async () => {
    const redis = await redisServer();
    const env = { TAGWAIT_REDIS_URL: redis.url, TAGWAIT_WORKERS: '2', TAGWAIT_DRAIN: '1' };
    const service = await spawned(env);
    const second = await spawned({ ...env, TAGWAIT_DRAIN: '60' });
    const workers = [...pids(service), ...pids(second)];
    for (const one of [service, second]) process.kill(pids(one)[0] as number, 'SIGSTOP');
    redis.process.kill('SIGSTOP');
    service.process.kill('SIGHUP');
    second.process.kill('SIGTERM');
    await until(() => lines(second).some(({ msg }) => msg === 'draining'));
    second.process.kill('SIGTERM');
    expect(await second.ended).toBe(1);
    expect(await service.ended).toBe(1);
    const at = (line: Line | undefined) => Date.parse(line?.time ?? '');
    const begun = lines(service).find(({ msg }) => msg === 'draining');
    // the last of them is the primary's: a worker that stops says so too
    const stopped = lines(service).findLast(({ msg }) => msg === 'stopped');
    // a drain of 1 s and the overtime; a worker that hangs is killed after 11 s, and Redis does not answer at all
    expect(at(stopped) - at(begun)).toBeLessThan(8000);
    expect(service.output.stderr).toContain('a worker did not stop in time');
    await until(() => !workers.some(alive));
  });
});

describe.concurrent('stopping', () => {
  test.each(['the primary', 'the whole group'])(
    '%s is signalled: one drain, and exit 0 within it',
    async target => {
      const service = await cluster({ TAGWAIT_DRAIN: '3' });
      const { publicUrl, internalUrl, ended } = service;
      const pages = Array.from({ length: 30 }, (_, page) => asking(publicUrl, `k${page % 6}`));
      await allHeld(internalUrl, 30);
      const workers = pids(service);
      const signal = target === 'the whole group' ? 'SIGHUP' : 'SIGTERM';
      if (target === 'the whole group') for (const pid of workers) process.kill(pid, signal);
      service.process.kill(signal);
      const replies = await Promise.all(pages);
      expect(new Set(replies.map(reply => reply.code))).toEqual(new Set([-6]));
      const retries = replies.map(reply => reply.retry as number);
      // spread over the drain time: no second of it gets them all
      for (const second of [0, 1, 2])
        expect(retries.filter(ms => Math.floor(ms / 1000) === second).length).toBeGreaterThan(0);
      expect(Math.max(...retries)).toBeLessThanOrEqual(3000);
      for (let time = 0; time < WORKERS; time++)
        expect((await fresh(`${internalUrl}/readyz`)).status).toBe(503);
      expect(await ended).toBe(0);
      expect(workers.some(alive)).toBe(false);
      expect(lines(service).filter(({ msg }) => msg === 'a worker died')).toEqual([]);
    },
  );

  test('a second signal exits at once', async () => {
    const service = await cluster({ TAGWAIT_DRAIN: '60' });
    const page = asking(service.publicUrl, 'a');
    await allHeld(service.internalUrl, 1);
    const workers = pids(service);
    service.process.kill('SIGTERM');
    expect((await page).code).toBe(-6);
    service.process.kill('SIGTERM');
    expect(await service.ended).toBe(1);
    await until(() => !workers.some(alive));
  });

  test('with nobody connected it stops at once', async () => {
    const service = await cluster({ TAGWAIT_DRAIN: '60' });
    service.process.kill('SIGTERM');
    expect(await service.ended).toBe(0);
  });
});

describe('stopping while a worker loads', () => {
  const passed = (ms: number) => new Promise(resolve => setTimeout(resolve, ms));
  /** Without the drain's end: a worker that is waited for until then makes the exit code 1. */
  const env = { TAGWAIT_WORKERS: '2', TAGWAIT_DRAIN: '60', TAGWAIT_LOG_LEVEL: 'info' };
  /** The processes that a process started. */
  const children = (pid: number) =>
    readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean).map(Number);

  test.each([0, 200, 500, 1000])('a replacement, %i ms after its start: exit 0', async delay => {
    const service = await cluster(env);
    const [victim] = pids(service) as [number];
    process.kill(victim, 'SIGKILL');
    const primary = service.process.pid as number;
    await until(() => children(primary).some(pid => !pids(service).includes(pid)));
    const workers = children(primary);
    await passed(delay);
    service.process.kill('SIGTERM');
    expect(await service.ended, service.output.stderr).toBe(0);
    expect(workers.some(alive)).toBe(false);
  });

  test.each([0, 300, 1000])('the first workers, %i ms after their start: exit 0', async delay => {
    const redis = await redisServer();
    const ports = { TAGWAIT_PUBLIC_PORT: '0', TAGWAIT_INTERNAL_PORT: '0' };
    const service = run([], { ...env, ...ports, TAGWAIT_REDIS_URL: redis.url });
    const primary = service.process.pid as number;
    await until(() => children(primary).length === 2);
    const workers = children(primary);
    await passed(delay);
    service.process.kill('SIGTERM');
    expect(await service.ended, service.output.stderr).toBe(0);
    expect(workers.some(alive)).toBe(false);
  });

  test('a worker that was stopped before it was ready: exit 0', async () => {
    const service = await cluster(env);
    const [victim] = pids(service) as [number];
    process.kill(victim, 'SIGKILL');
    const primary = service.process.pid as number;
    // not between fork and exec, when it still has the primary's title: the primary waits there for its child
    const title = (pid: number) => readFileSync(`/proc/${pid}/cmdline`, 'utf8');
    const replacement = () =>
      children(primary).find(pid => !pids(service).includes(pid) && title(pid) !== title(primary));
    process.kill((await until(replacement)) as number, 'SIGSTOP');
    service.process.kill('SIGTERM');
    expect(await service.ended, service.output.stderr).toBe(0);
  });
});

describe.concurrent('it cannot start', () => {
  const starting = (env: Record<string, string>) =>
    run([], {
      TAGWAIT_PUBLIC_HOST: '127.0.0.1',
      TAGWAIT_PUBLIC_PORT: '0',
      TAGWAIT_INTERNAL_PORT: '0',
      TAGWAIT_WORKERS: String(WORKERS),
      TAGWAIT_LOG_LEVEL: 'silent',
      ...env,
    });

  test('a taken port: the line and the exit code of a single process', async () => {
    const redis = await redisServer();
    const other = createServer().listen(0, '127.0.0.1');
    await once(other, 'listening');
    const { port } = other.address() as { port: number };
    const env = { TAGWAIT_REDIS_URL: redis.url, TAGWAIT_PUBLIC_PORT: String(port) };
    const [several, one] = [starting(env), starting({ ...env, TAGWAIT_WORKERS: '1' })];
    expect([await several.ended, await one.ended]).toEqual([1, 1]);
    expect(several.output).toEqual(one.output);
    expect(one.output.stderr).toContain(`port 127.0.0.1:${port} is taken`);
    other.close();
  });

  test('a wrong Redis password: the same', async () => {
    const redis = await redisServer(['--requirepass', 'right']);
    const env = { TAGWAIT_REDIS_URL: redis.url.replace('//', '//:wrong@') };
    const [several, one] = [starting(env), starting({ ...env, TAGWAIT_WORKERS: '1' })];
    expect([await several.ended, await one.ended]).toEqual([2, 2]);
    expect(several.output).toEqual(one.output);
    expect(one.output.stderr.trim().split('\n')).toHaveLength(1);
  });

  test('the demo, which keeps its logins in one process: refused', async () => {
    const child = starting({ TAGWAIT_REDIS_URL: 'redis://127.0.0.1:1', TAGWAIT_DEMO: 'true' });
    expect(await child.ended).toBe(2);
    expect(child.output.stderr).toMatch(/TAGWAIT_DEMO: .* give TAGWAIT_WORKERS 1\n$/);
  });
});

test('auto is a worker per core; on one core, one process', async () => {
  const { publicUrl, internalUrl } = await cluster({ TAGWAIT_WORKERS: 'auto' });
  const { availableParallelism } = await import('node:os');
  await until(async () => (await nodes(internalUrl)).length === availableParallelism());
  expect(await poll(publicUrl, { key: 'a', hold: '0' })).toMatchObject({ code: -1 });
});
