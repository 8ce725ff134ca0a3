/** tagwait inside other programs, as docs/embedding.md shows it. */
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Koa from 'koa';
import request from 'supertest';
import { expect, onTestFinished, test } from 'vitest';
import { MemoryBroker } from '../src/brokers/memory.js';
import { type Broker, Conflict, createTagwait, Misconfigured } from '../src/index.js';
import { blocksOf } from './blocks.js';
import { listen, poll, set, until } from './harness.js';
import { program } from './program.js';

test('routes beside the routes of the app, and set without HTTP', async () => {
  const tagwait = await createTagwait({ hold: 5, logLevel: 'silent' });
  const app = new Koa();
  app.use(tagwait.publicRoutes);
  app.use(ctx => {
    ctx.body = 'the app itself';
  });
  const server = app.listen(0, '127.0.0.1');
  onTestFinished(() => void server.close());
  onTestFinished(() => tagwait.close());

  expect((await request(server).get('/')).text).toBe('the app itself');
  expect((await request(server).post('/status/set')).text, 'sets stay inside').toBe('the app itself');
  const page = request(server)
    .get('/status/get?key=a')
    .then(reply => reply.body);
  await until(async () => Object.values((await tagwait.peek('a')).waiters)[0] === 1);
  const { watched, cursor } = await tagwait.set('a', { state: 'scanned' }, { expect: '', ttl: 60, id: 'x' });
  expect(watched).toBe(true);
  expect(await page).toEqual({ code: 0, message: 'success', data: { state: 'scanned' }, cursor });
  await expect(tagwait.set('a', 1, { expect: '' })).rejects.toBeInstanceOf(Conflict);
  await expect(tagwait.set('a b', 1)).rejects.toThrow(/^key: give 1 to 128 of /);
  await expect(tagwait.peek('a b')).rejects.toThrow(/^key: give 1 to 128 of /);
  await expect(tagwait.set('a', JSON.parse('{"__proto__":1}'))).rejects.toBeInstanceOf(TypeError);
  expect((await tagwait.nodes())[0]).toMatchObject({ held: 0 });
});

test('a page that left while the app was still thinking is not held', async () => {
  const tagwait = await createTagwait({ hold: 60, logLevel: 'silent' });
  const app = new Koa();
  const passed = new Promise<void>(resolve => {
    app.use(async (ctx, next) => {
      await new Promise(leave => ctx.res.once('close', leave).once('finish', leave));
      await next();
      resolve();
    });
  });
  app.use(tagwait.publicRoutes);
  const server = createServer(app.callback());
  onTestFinished(() => void server.close());
  onTestFinished(() => tagwait.close());
  const leaving = new AbortController();
  server.once('request', () => leaving.abort());
  const url = await listen(server);
  await expect(fetch(`${url}/status/get?key=a`, { signal: leaving.signal })).rejects.toThrow();
  await passed;
  expect((await tagwait.nodes())[0]).toMatchObject({ held: 0 });
});

test('mounted after what reads bodies: an error that says so, and nobody waits for ever', async () => {
  const tagwait = await createTagwait({ logLevel: 'silent' });
  onTestFinished(() => tagwait.close());
  const app = new Koa();
  app.silent = true;
  const errors: Error[] = [];
  app.on('error', error => errors.push(error));
  app.use(async (ctx, next) => {
    for await (const _ of ctx.req);
    await next();
  });
  app.use(tagwait.internalRoutes);
  const server = app.listen(0, '127.0.0.1');
  onTestFinished(() => void server.close());
  for (const path of ['/status/set', '/status/new'])
    expect((await request(server).post(path).send({ ttl: 1 })).status, path).toBe(500);
  expect(errors[0]?.message).toContain('mount tagwait before any body parser');
  expect(errors[0]).toMatchObject({ name: 'Error', code: 'TAGWAIT_BODY_READ' });
});

test('options at fault are all named', async () => {
  const bad = createTagwait({ hold: -1, bogus: 1, workers: 2 } as never);
  await expect(bad).rejects.toBeInstanceOf(Misconfigured);
  await expect(bad).rejects.toThrow(
    /bogus: not an option[\s\S]*hold: "-1" is not allowed[\s\S]*TAGWAIT_WORKERS/,
  );
});

test('with a broker of its own: pages hear what is set, and the broker is started and closed once', async () => {
  const calls: string[] = [];
  class Counted extends MemoryBroker {
    override start(...args: Parameters<MemoryBroker['start']>) {
      calls.push('start');
      return super.start(...args);
    }
    override close() {
      calls.push('close');
      return super.close();
    }
  }
  const tagwait = await createTagwait({ broker: new Counted({ history: 2 }), logLevel: 'silent' });
  const server = new Koa().use(tagwait.publicRoutes).listen(0, '127.0.0.1');
  onTestFinished(() => void server.close());
  for (const value of [1, 2, 3]) await tagwait.set('a', value);
  const { body } = await request(server).get('/status/get?key=a');
  expect(body).toMatchObject({ code: 0, data: 3, earlier: [2], lost: 1 });
  await tagwait.close();
  expect(calls).toEqual(['start', 'close']);
});

test('a broker that lacks something, or comes with a Redis, is refused with all faults', async () => {
  const half = { start: async () => {}, lease: 1000 } as unknown as Broker;
  const made = createTagwait({ broker: half, redisUrl: 'redis://127.0.0.1:1' });
  await expect(made).rejects.toBeInstanceOf(Misconfigured);
  await expect(made).rejects.toThrow(/lacks set;[\s\S]*lacks close;[\s\S]*lacks verify[\s\S]*give one store/);
});

test.each<[string, unknown, object, RegExp]>([
  ['a large value', 'x'.repeat(20_000), {}, /at most 16384 bytes/],
  ['no value', undefined, {}, /value/],
  ['a function', () => {}, {}, /value/],
  ['a ttl of no time', 1, { ttl: -1 }, /ttl: give seconds/],
  ['a ttl that is no number', 1, { ttl: Number.NaN }, /ttl: give seconds/],
  ['a long id', 1, { id: 'x'.repeat(65) }, /id: give 1 to 64/],
  ['an expect that is no cursor', 1, { expect: null }, /expect: give a cursor/],
  ['an option that is none', 1, { tll: 5 }, /has a field of another name; there are key, value, ttl/],
])('set without HTTP has the rules of POST /status/set: %s', async (_, value, options, message) => {
  const tagwait = await createTagwait({ logLevel: 'silent' });
  onTestFinished(() => tagwait.close());
  const refused = tagwait.set('a', value, options);
  await expect(refused).rejects.toBeInstanceOf(TypeError);
  await expect(refused).rejects.toThrow(message);
  await expect(refused).rejects.toMatchObject({ name: 'TypeError', code: 'TAGWAIT_BAD_REQUEST' });
  expect((await tagwait.peek('a')).entries).toEqual([]);
});

test('whatever the arguments are, an error has a name and a code', async () => {
  const tagwait = await createTagwait({ logLevel: 'silent' });
  onTestFinished(() => tagwait.close());
  const circular: unknown[] = [];
  circular.push(circular);
  const odd = [null, 5, '', Symbol('a'), 1n, () => {}, Object.create(null), circular] as never[];
  const calls = [
    ...[null, 5, 'a', true].map(one => () => createTagwait(one as never)),
    ...odd.flatMap(one => [
      () => createTagwait({ hold: one }),
      () => createTagwait({ origins: [one] }),
      () => createTagwait({ bogus: one } as never),
      () => tagwait.set(one, 1),
      () => tagwait.set('a', 1, { ttl: one, bogus: 1 } as never),
      () => tagwait.peek(one),
      () => tagwait.newTicket(one),
      () => tagwait.login.new(one),
      () => tagwait.login.redeem(one),
    ]),
    ...[null, -1, Number.NaN, '1'].map(one => () => tagwait.drain(one as never)),
    ...[Symbol('a'), 1n, () => {}, circular].map(one => () => tagwait.set('a', one)),
  ];
  let errors = 0;
  for (const call of calls) {
    try {
      // some of them are good by chance
      const made: unknown = await call();
      if (made && typeof made === 'object' && 'close' in made) await (made as typeof tagwait).close();
    } catch (error) {
      errors++;
      expect(error, String(call)).toMatchObject({
        name: expect.any(String),
        code: expect.stringMatching(/^TAGWAIT_/),
      });
    }
  }
  expect(errors).toBeGreaterThan(calls.length * 0.8);
});

test('a listener answers its own paths, passes on the others with a clean status, or answers 404 without a next', async () => {
  const tagwait = await createTagwait({ logLevel: 'silent' });
  onTestFinished(() => tagwait.close());
  const passing = createServer((request, response) =>
    tagwait.publicListener(request, response, () => response.end(`${response.statusCode} ${request.url}`)),
  );
  const alone = createServer(tagwait.internalListener);
  for (const server of [passing, alone]) onTestFinished(() => void server.close());
  const [url, internalUrl] = [await listen(passing), await listen(alone)];
  await set(internalUrl, { key: 'a', value: 1 });
  expect(await poll(url, { key: 'a' })).toMatchObject({ data: 1 });
  expect(await (await fetch(`${url}/other`)).text()).toBe('200 /other');
  expect((await fetch(`${internalUrl}/other`)).status).toBe(404);
});

/** Next itself is not installed: it takes a minute to build, and the block needs three of its calls only. */
const NEXT = `export default () => ({
  prepare: async () => {},
  getRequestHandler: () => (request, response) => response.end('next ' + request.url),
});`;

test('the apps of docs/embedding.md: a page of each hears what is set, and the app answers what is its own', async () => {
  const root = join(import.meta.dirname, '..');
  const folder = mkdtempSync(join(tmpdir(), 'tagwait-apps-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  mkdirSync(join(folder, 'node_modules/next'), { recursive: true });
  writeFileSync(join(folder, 'node_modules/next/package.json'), '{"type":"module","exports":"./next.js"}');
  writeFileSync(join(folder, 'node_modules/next/next.js'), NEXT);
  symlinkSync(root, join(folder, 'node_modules/tagwait'));
  for (const name of ['express', 'fastify', 'koa'])
    symlinkSync(join(root, 'node_modules', name), join(folder, 'node_modules', name));
  const listening = `listen(0, '127.0.0.1', function () {
    console.log('at http://127.0.0.1:' + this.address().port + ' ');
  })`;
  const blocks = blocksOf('docs/embedding.md').filter(({ text }) => text.includes('createTagwait'));
  expect(blocks.map(({ heading }) => /with(?:out)? (?:a )?([\w.]+)/.exec(heading)?.[1])).toEqual([
    'Express',
    'Fastify',
    'Koa',
    'Next.js',
    'framework',
  ]);
  await Promise.all(
    blocks.map(async ({ text, heading }, number) => {
      const here = text
        .replace(/listen\(3000\)|listen\(11000\)|listen\(11001, '127.0.0.1'\)/g, listening)
        .replace(
          'await app.listen({ port: 3000 })',
          "console.log('at ' + (await app.listen({ port: 0, host: '127.0.0.1' })) + ' ')",
        );
      const file = `app${number}.mjs`;
      writeFileSync(
        join(folder, file),
        `${here}\nglobalThis.tagwait ??= tagwait; await globalThis.tagwait.set('hello', 'set inside');`,
      );
      const app = program(process.execPath, [file], { cwd: folder });
      const [, url = ''] = await app.said(/at (\S+) /);
      await until(async () => (await poll(url, { key: 'hello', hold: '0' })).data === 'set inside');
      if (/Express|Fastify/.test(heading)) {
        const page = poll(url, { key: 'order-1' });
        expect((await fetch(`${url}/paid/order-1`, { method: 'POST' })).status, heading).toBe(204);
        expect(await page, heading).toMatchObject({ data: 'paid', final: true });
      }
      const other = await fetch(`${url}/other`);
      if (heading.includes('Next')) expect(await other.text()).toBe('next /other');
      else expect(other.status, heading).toBe(404);
    }),
  );
}, 60_000);
