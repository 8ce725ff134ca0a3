/** Two real nodes and Redis behind each proxy of deploy/, over TLS: what an operator and a page are promised. */
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { SETTINGS } from '../src/settings.js';
import { launch } from './chromium.js';
import { held, type Reply, type Spawned, set, spawned, until } from './harness.js';
import { onTestFinished, sideBySide } from './owner.js';
import { ask, deployed, fetchBy, hangUp, KNOWN, program, proxy } from './proxies.js';
import { raw, request } from './raw.js';
import { freePort, redisServer } from './redis.js';
import { scrape } from './scrape.js';

sideBySide();
const installed = KNOWN.filter(kind => program(kind));
for (const kind of KNOWN.filter(name => !program(name)))
  console.log(
    `${kind} is not on this machine: the tests behind it are left out (apt-get install ${kind} brings it)`,
  );

/** Seconds: half of it is longer than a proxy takes to ask a node that is back. */
const DRAIN = 5;
/** Milliseconds between a backend's values. */
const PACE = 50;

async function twoNodes(kind: string, env: Record<string, string> = {}) {
  const { url } = await redisServer();
  const ports = [await freePort(), await freePort()];
  const start = (index: number): Promise<Spawned> =>
    spawned({
      TAGWAIT_REDIS_URL: url,
      TAGWAIT_PUBLIC_PORT: String(ports[index]),
      TAGWAIT_TRUST_PROXY: '1',
      TAGWAIT_DRAIN: String(DRAIN),
      ...env,
    });
  const nodes = await Promise.all([start(0), start(1)]);
  return { nodes, start, front: await proxy(kind, ports) };
}

const heldNow = async (nodes: Spawned[]) => {
  const counts = await Promise.all(
    nodes.map(async node => (await scrape(node.internalUrl)).get('tagwait_held')),
  );
  return counts.reduce<number>((sum, count) => sum + (count ?? 0), 0);
};

let browser: Browser;
beforeAll(async () => {
  browser = await launch();
});
afterAll(async () => {
  await browser.close();
  hangUp();
});

/** Tabs of one browser on the proxy's own origin. @returns opens one that watches a key */
async function tabs(front: string) {
  const context = await browser.newContext({ ignoreHTTPSErrors: true });
  onTestFinished(() => context.close());
  const html = '<!doctype html><title>login</title><script src="/client.js"></script>';
  await context.route('**/login', route => route.fulfill({ contentType: 'text/html', body: html }));
  return async (key: string, proof?: string) => {
    const page = await context.newPage();
    await page.goto(`${front}/login`);
    await page.evaluate(
      options => {
        const heard: unknown[] = [];
        const faults: unknown[] = [];
        Object.assign(window, { heard, faults });
        (window as never as { tagwait: { watch(key: string, options: object): void } }).tagwait.watch(
          options.key,
          {
            proof: options.proof,
            onvalue: (value: unknown) => heard.push(value),
            onend: (reason: unknown) => heard.push(reason),
            onerror: (error: unknown) => faults.push(error),
          },
        );
      },
      { key, proof },
    );
    const read = (name: 'heard' | 'faults') =>
      page.evaluate(what => (window as never as Record<string, unknown[]>)[what], name);
    return { page, heard: () => read('heard'), faults: () => read('faults') };
  };
}

// what is below runs side by side: most of it waits, for a whole hold or for a drain
test.skipIf(installed.length === 0)(
  "behind each of them a whole hold fits under the time-outs, and each page's own address is counted, whatever it says",
  { concurrent: true },
  async () => {
    const whole: Promise<{ kind: string; code: number; took: number }>[] = [];
    for (const kind of installed) {
      const { front } = await twoNodes(kind, { TAGWAIT_MAX_POLLS_PER_IP: '1' });
      const began = performance.now();
      const answer = ask(`${front}/status/get?key=long`, '127.0.0.4');
      const one = answer.then(({ reply }) => ({ kind, code: reply.code, took: performance.now() - began }));
      // looked at below; a failure until then is no unhandled one
      one.catch(() => {});
      whole.push(one);
      const many = Array.from({ length: 12 }, (_, number) =>
        ask(`${front}/status/get?key=a&hold=0`, '127.0.0.2', { 'X-Forwarded-For': `192.0.2.${number}` }),
      );
      const busy = (await Promise.all(many)).filter(({ reply }) => reply.code === -3);
      expect(busy.length, kind).toBeGreaterThan(5);
      expect((await ask(`${front}/status/get?key=a&hold=0`, '127.0.0.3')).reply.code, kind).toBe(-1);
    }
    for (const { kind, code, took } of await Promise.all(whole)) {
      expect(code, kind).toBe(-1);
      expect(took, kind).toBeGreaterThan(Number(SETTINGS.hold.fallback) * 1000 - 100);
    }
  },
);

// behind one proxy, test after test
describe.concurrent.each(KNOWN)('behind a real %s', kind => {
  const here = test.skipIf(!program(kind));
  const inTurn = { concurrent: false };

  here('a scan login, and eight tabs over one HTTP/2 connection', inTurn, async () => {
    const { nodes, front } = await twoNodes(kind, { TAGWAIT_SECRET: 's'.repeat(32) });
    const [one, two] = nodes as [Spawned, Spawned];
    const ticket = async () => {
      const made = await fetch(`${one.internalUrl}/status/new`, {
        method: 'POST',
        headers: { 'Content-Type': 'application/json' },
        body: '{}',
      });
      expect(made.status).toBe(200);
      return (await made.json()) as { key: string; proof: string };
    };
    const open = await tabs(front);
    const opened = await Promise.all(
      Array.from({ length: 8 }, async () => {
        const { key, proof } = await ticket();
        return { key, tab: await open(key, proof) };
      }),
    );
    // over HTTP/1.1 there would never be more than six
    await until(async () => (await heldNow(nodes)) === opened.length, { within: 60_000 });
    for (const { key } of opened) {
      expect((await set(one.internalUrl, { key, value: 'scanned', expect: '' })).status).toBe(200);
      expect((await set(two.internalUrl, { key, value: 'scanned by another', expect: '' })).status).toBe(409);
      await set(two.internalUrl, { key, value: { code: 'once' }, final: true });
    }
    for (const { tab } of opened) {
      await until(async () => (await tab.heard())?.length === 3, { within: 60_000, every: 50 });
      expect(await tab.heard()).toEqual(['scanned', { code: 'once' }, 'final']);
      // a machine that is too busy for Redis is no fault of the proxy
      expect((await tab.faults())?.filter(fault => (fault as Reply).code !== -7)).toEqual([]);
      const protocols = await tab.page.evaluate(() =>
        performance
          .getEntriesByType('resource')
          .filter(entry => entry.name.includes('/status/get?'))
          .map(entry => (entry as PerformanceResourceTiming).nextHopProtocol),
      );
      expect(new Set(protocols)).toEqual(new Set(['h2']));
    }
  });

  here(
    'both nodes restart one after the other under load: no value lost, no error shown',
    inTurn,
    async () => {
      // more than what is set while a page is sent elsewhere, and no limit: on a quick machine these pages, all of one
      // address, hear and ask more often a second than an address may
      const { nodes, start, front } = await twoNodes(kind, {
        TAGWAIT_HISTORY: '1000',
        TAGWAIT_MAX_POLLS_PER_IP: '0',
      });
      const keys = Array.from({ length: 10 }, (_, number) => `k${number}`);
      const shown = keys.slice(0, 2);
      const open = await tabs(front);
      const opened = await Promise.all(shown.map(key => open(key)));
      const crowd = keys.map(key => asker(front, key));
      await Promise.all(
        keys.map(key => held(nodes[0]?.internalUrl as string, key, shown.includes(key) ? 2 : 1)),
      );
      const backend = setter(nodes, keys);
      for (const index of [0, 1]) {
        await backend.more(3);
        const old = nodes[index] as Spawned;
        old.process.kill('SIGTERM');
        // 1: a busy machine took more than its drain
        expect([0, 1]).toContain(await old.ended);
        nodes[index] = await start(index);
      }
      await backend.more(3);
      const all = await backend.stop();
      for (const one of crowd) await until(() => one.heard.at(-1) === all.at(-1), { within: 60_000 });
      for (const tab of opened)
        await until(async () => (await tab.heard())?.at(-1) === all.at(-1), { within: 60_000, every: 50 });
      for (const one of crowd) expect(one.heard).toEqual(all);
      for (const tab of opened) {
        expect(await tab.heard()).toEqual(all);
        expect(await tab.faults()).toEqual([]);
      }
      const ends = crowd.map(one => one.end());
      for (const key of keys) await set(nodes[0]?.internalUrl as string, { key, value: 'over' });
      await Promise.all(ends);
      expect(crowd.flatMap(one => one.faults)).toEqual([]);
      expect(
        crowd.reduce((sum, one) => sum + one.moves, 0),
        'pages that a closing node sent on',
      ).toBeGreaterThan(0);
    },
  );

  here('a node dies with its pages: the proxy asks the other, and no page notices', inTurn, async () => {
    const { nodes, front } = await twoNodes(kind);
    const [one, two] = nodes as [Spawned, Spawned];
    const keys = Array.from({ length: 8 }, (_, number) => `d${number}`);
    const answers = Promise.all(keys.map(key => ask(`${front}/status/get?key=${key}`)));
    // looked at below
    answers.catch(() => {});
    await until(async () => (await heldNow(nodes)) === keys.length);
    // on a busy machine a proxy may have taken one of them for dead
    const [dying, other] = (await heldNow([one])) > 0 ? [one, two] : [two, one];
    dying.process.kill('SIGKILL');
    await until(async () => (await heldNow([other])) === keys.length);
    for (const key of keys) await set(other.internalUrl, { key, value: key });
    expect((await answers).map(({ reply }) => reply.data)).toEqual(keys);
  });
});

test.skipIf(!program('nginx'))(
  'behind nginx, with health checks, preflights and split packets between them, 95 % of polls are on the fast path',
  { concurrent: true },
  async () => {
    const { nodes, front } = await twoNodes('nginx', { TAGWAIT_MAX_POLLS_PER_IP: '0' });
    const poll = '/status/get?key=a&hold=0';
    for (let round = 0; round < 20; round++) {
      const polls = Array.from({ length: 10 }, () => ask(front + poll));
      const odd = { Cookie: 'name=Zo\xeb' };
      const others = [
        fetchBy('HEAD', `${front}/healthz`),
        fetchBy('OPTIONS', front + poll, undefined, {
          Origin: 'https://shop.example',
          'Access-Control-Request-Method': 'GET',
        }),
        // what a person's name in a cookie costs, now and then
        ...(round % 4 === 0 ? [fetchBy('GET', front + poll, undefined, odd)] : []),
      ];
      for (const { reply } of await Promise.all(polls)) expect(reply.code).toBe(-1);
      for (const { status } of await Promise.all(others)) expect([200, 204]).toContain(status);
      for (const { publicUrl } of nodes) await inPackets(publicUrl, request(poll));
    }
    const [polls, slow] = await Promise.all(
      ['tagwait_polls_total', 'tagwait_slow_path_requests_total'].map(name => sumOf(nodes, name)),
    );
    expect(polls).toBeGreaterThan(200);
    // nginx passes no cookies on, so that those with other bytes than ASCII cost nothing either
    expect(slow).toBe(0);
  },
);

/** Sends a request in three packets, and waits for its response. */
async function inPackets(url: string, text: string): Promise<void> {
  const connection = raw(url);
  connection.socket.setNoDelay();
  for (const part of [text.slice(0, 3), text.slice(3, 40), text.slice(40)]) {
    connection.socket.write(part);
    await new Promise(setImmediate);
  }
  await until(() => connection.text.includes('"code":-1'));
  connection.socket.end();
}

/** A metric, over its labels and all nodes. */
async function sumOf(nodes: Spawned[], metric: string): Promise<number> {
  const scrapes = await Promise.all(nodes.map(node => scrape(node.internalUrl)));
  const samples = scrapes.flatMap(scraped => [...scraped]).filter(([name]) => name.startsWith(`${metric}{`));
  return samples.reduce((sum, [, value]) => sum + value, 0);
}

/** A page without the script: asks and asks, and takes everything but a value, a time-out or `moved` as a fault. */
function asker(front: string, key: string) {
  let over = false;
  const one = { heard: [] as unknown[], faults: [] as string[], moves: 0, end };
  const asking = (async () => {
    for (let since = ''; !over; ) {
      try {
        const { reply } = await ask(`${front}/status/get?key=${key}&since=${since}&hold=5`);
        if (over) return;
        if (reply.code === 0) one.heard.push(...(reply.earlier ?? []), reply.data);
        if (reply.code === -6) one.moves++;
        if (reply.lost || ![0, -1, -6].includes(reply.code)) one.faults.push(JSON.stringify(reply));
        since = reply.cursor ?? since;
        if (reply.retry) await new Promise(resolve => setTimeout(resolve, reply.retry));
      } catch (error) {
        one.faults.push(String(error));
      }
    }
  })();
  function end(): Promise<void> {
    over = true;
    return asking;
  }
  onTestFinished(end);
  return one;
}

/** A backend that sets 1, 2, 3 … under every key, and tries again at the other node, with the same id. */
function setter(nodes: Spawned[], keys: string[]) {
  let setting = true;
  let over = false;
  let acknowledged = 0;
  async function one(key: string, value: number): Promise<void> {
    for (let turn = value; !over; turn++) {
      const { internalUrl } = nodes[turn % 2] as Spawned;
      const done = await set(internalUrl, { key, value, id: String(value) }).catch(() => undefined);
      if (done?.status === 200) return;
    }
  }
  const work = (async () => {
    for (let value = 1; setting; value++) {
      for (const key of keys) await one(key, value);
      acknowledged = value;
      // a backend, and no benchmark: some dozens of values of each key while a node restarts
      await new Promise(resolve => setTimeout(resolve, PACE));
    }
  })();
  onTestFinished(async () => {
    setting = false;
    over = true;
    await work;
  });
  return {
    more: (values: number) => {
      const before = acknowledged;
      return until(() => acknowledged >= before + values, { within: 60_000 });
    },
    /** @returns all that was acknowledged, under every key */
    async stop(): Promise<number[]> {
      setting = false;
      await work;
      return Array.from({ length: acknowledged }, (_, index) => index + 1);
    },
  };
}

test('a node that is back is asked again before the next may be gone', () => {
  const [, seconds] = /fail_timeout=(\d+)s/.exec(deployed('nginx.conf')) ?? [];
  // in whole seconds of its clock (nginx, ngx_http_upstream_round_robin.c): 1 s is up to 2
  expect(Number(seconds) + 1).toBeLessThan(DRAIN / 2);
  expect(DRAIN).toBeLessThanOrEqual(Number(SETTINGS.drain.fallback));
});
