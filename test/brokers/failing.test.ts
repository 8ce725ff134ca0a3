/**
 * A broker of the app's that fails, in every method and in every way: what requests are answered meanwhile and afterwards. All
 * cases run at the same time, in virtual time.
 */
import { createServer, request } from 'node:http';
import { afterEach, beforeEach, expect, onTestFinished, test, vi } from 'vitest';
import { type Broker, Conflict, type Events } from '../../src/brokers/broker.js';
import { createTagwait, type Tagwait } from '../../src/index.js';
import { listen } from '../harness.js';
import { LIMIT, never, Whole } from './whole.js';

const WAYS: Record<string, (this: Whole, work: () => unknown) => unknown> = {
  'throws a TypeError': () => {
    throw new TypeError('no such thing');
  },
  'rejects with a TypeError': () => Promise.reject(new TypeError('no such thing')),
  'rejects with undefined': () => Promise.reject(undefined),
  'rejects with a text': () => Promise.reject('text'),
  'throws a Conflict': () => {
    throw new Conflict('expect', 'a-1');
  },
  'returns undefined': () => undefined,
  'returns a number': async () => 5,
  'returns null in its fields': async () => ({ cursor: null, entries: null, up: null, watched: null }),
  hangs: never,
  'answers late': work => new Promise(resolve => setTimeout(resolve, 12_000)).then(work),
  'reports garbage': function (work) {
    garble(this.events);
    return work();
  },
};
const METHODS = [
  ...[
    'start',
    'set',
    'subscribe',
    'unsubscribe',
    'verify',
    'drop',
    'prove',
    'peek',
    'nodes',
    'status',
    'close',
  ],
] as (keyof Broker)[];

/** Calls everything that a broker may call, with what it may not. */
function garble(events: Events): void {
  const odd = [undefined, null, 5, {}, 'k', [], () => {}] as never[];
  const entry = { value: '1', cursor: 'a-1', prev: '', final: false };
  for (const one of odd) {
    events.entry(one, one);
    events.entry('held', one);
    events.entry('held', { ...entry, value: one });
    events.entry('held', { ...entry, cursor: one });
    events.entry('held', { ...entry, prev: one });
    events.gap(one);
    events.held(one);
    events.drop(one, one, one);
    events.receipt?.(one, one, one);
    events.receipt?.('held', one, 'wanted');
  }
  events.entry('held', { ...entry, value: '</script>' });
}

const real = setTimeout;
/** requests and responses that are between a client and its server: time waits for them */
let onTheWay = 0;
/** Lets virtual time pass until the promise is settled, with some of the real time for sockets. */
async function pass<T>(promise: Promise<T>): Promise<T> {
  let settled = false;
  const mark = () => {
    settled = true;
  };
  promise.then(mark, mark);
  for (let steps = 0; !settled && steps < 1000; steps++) {
    do await new Promise(resolve => real(resolve, 1));
    while (onTheWay > 0);
    vi.advanceTimersByTime(100);
  }
  if (!settled) throw new Error('not settled');
  return promise;
}

const unhandled: unknown[] = [];
const note = (error: unknown) => void unhandled.push(error);
beforeEach(() => {
  unhandled.length = 0;
  process.on('unhandledRejection', note);
  process.on('uncaughtException', note);
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval', 'performance'] });
});
afterEach(() => {
  vi.useRealTimers();
  process.off('unhandledRejection', note);
  process.off('uncaughtException', note);
});

/** One server for each port; the first part of a path is the number of the case. */
async function ports() {
  const apps: Tagwait[] = [];
  const at = async (side: 'publicListener' | 'internalListener') => {
    const server = createServer((incoming, response) => {
      const [, number, path] = /^\/(\d+)(.*)$/.exec(incoming.url ?? '') ?? [];
      incoming.url = path ?? '';
      onTheWay--;
      response.on('finish', () => onTheWay++);
      apps[Number(number)]?.[side](incoming, response);
    });
    onTestFinished(() => {
      server.closeAllConnections();
      server.close();
    });
    return listen(server);
  };
  return { apps, publicUrl: await at('publicListener'), internalUrl: await at('internalListener') };
}

interface Answered {
  status: number;
  text: string;
  body: Record<string, unknown>;
  /** virtual ms */
  took: number;
}
function ask(url: string, body?: object): Promise<Answered> {
  const from = performance.now();
  onTheWay++;
  return new Promise((resolve, reject) => {
    const headers = { 'content-type': 'application/json' };
    const sent = request(url, { agent: false, method: body ? 'POST' : 'GET', headers }, async response => {
      let text = '';
      for await (const part of response) text += part;
      onTheWay--;
      const parsed = text.startsWith('{') ? JSON.parse(text) : {};
      resolve({ status: response.statusCode as number, text, body: parsed, took: performance.now() - from });
    });
    sent.on('error', reject).end(body && JSON.stringify(body));
  });
}

/** What is wrong with an answer. */
function wrong(what: string, answer: Answered, statuses: number[], limit: number): string[] {
  const faults: string[] = [];
  if (!statuses.includes(answer.status)) faults.push(`${what}: ${answer.status} ${answer.text.slice(0, 80)}`);
  if (answer.took > limit + 1000) faults.push(`${what}: answered after ${answer.took} ms`);
  if (answer.status === 200 && what === 'set' && !/^[a-z0-9]+-\d+$/.test(String(answer.body.cursor)))
    faults.push(`set: stored at ${answer.body.cursor}`);
  return faults;
}

/** One case: a held poll, then the failure with requests of every kind, then a set that is heard, and the end. */
async function faultsOf(
  method: keyof Broker,
  way: keyof typeof WAYS,
  urls: { pub: string; own: string },
  mount: (app: Tagwait) => void,
): Promise<string[]> {
  const broker = new Whole({ history: 4 });
  let bad = method === 'start';
  const whole = (broker as unknown as Record<string, (...given: unknown[]) => unknown>)[method]?.bind(broker);
  const odd = (...given: unknown[]) => {
    if (method === 'start') broker.events = given[0] as Events;
    return bad ? WAYS[way]?.call(broker, () => whole?.(...given)) : whole?.(...given);
  };
  Object.assign(broker, { [method]: odd });
  const made = await createTagwait({ broker, logLevel: 'silent', hold: 25 }).catch(error => error as Error);
  if (made instanceof Error) {
    const { code, name } = made as NodeJS.ErrnoException;
    return method === 'start' && name && code?.startsWith('TAGWAIT_') ? [] : [`createTagwait: ${made}`];
  }
  const faults: string[] = [];
  mount(made);
  if (method === 'start') await whole?.(broker.events);
  const held = ask(`${urls.pub}/status/get?key=held&hold=5`);
  const only = <T>(methods: string, work: () => T) => (methods.includes(method) ? [work()] : []);
  await Promise.all(only('unsubscribe', () => ask(`${urls.pub}/status/get?key=other&hold=0.2`)));
  bad = true;
  const polls: [string, number][] = [
    ['hold=3', 3000],
    ...only('subscribe', (): [string, number] => ['hold=0', LIMIT]),
    ...only('drop', (): [string, number] => ['hold=0.5&drop=gone', 500]),
  ];
  const sets = [{ value: 1 }, ...only('set prove', () => ({ value: 2, receipt: 1 }))];
  const looks = [
    '/readyz',
    ...only('status', () => '/metrics'),
    ...only('nodes', () => '/nodes'),
    ...only('peek', () => '/status/peek?key=new'),
  ];
  const answers = await Promise.all([
    ...polls.map(async ([query, limit]) =>
      wrong(query, await ask(`${urls.pub}/status/get?key=new&${query}`), [200, 503], limit),
    ),
    ...sets.map(async value => {
      const statuses = method === 'set' ? [200, 409, 503] : [200, 503];
      return wrong(
        'set',
        await ask(`${urls.own}/status/set`, { key: 'new', ...value }),
        statuses,
        LIMIT + 1000,
      );
    }),
    ...looks.map(async path => {
      const answer = await ask(`${urls.own}${path}`);
      const failed = method === 'status' && path === '/readyz' && way !== 'reports garbage';
      if (failed && !answer.text.includes('the broker failed: status'))
        faults.push(`${path}: ${answer.text}`);
      return wrong(path, answer, path === '/metrics' ? [200] : [200, 503], LIMIT);
    }),
  ]);
  faults.push(...answers.flat(), ...wrong('held poll', await held, [200, 503], 5000));
  bad = false;
  if (way === 'reports garbage') garble(broker.events);
  faults.push(...(await recovered(broker, urls)));
  bad = true;
  const from = performance.now();
  await made.close().catch(error => faults.push(`close: ${error}`));
  if (performance.now() - from > 1500) faults.push(`close: took ${performance.now() - from} ms`);
  garble(broker.events);
  broker.events.entry('held', { value: '1', cursor: 'a-1', prev: '', final: false });
  return faults;
}

/** The broker works again: a poll hears a set. */
async function recovered(broker: Whole, urls: { pub: string; own: string }): Promise<string[]> {
  const poll = ask(`${urls.pub}/status/get?key=again&hold=8`);
  await new Promise(resolve => setTimeout(resolve, 500));
  const again = await ask(`${urls.own}/status/set`, { key: 'again', value: 'heard' });
  const heard = await poll;
  const ready = await ask(`${urls.own}/readyz`);
  return [
    ...wrong('set', again, [200], 1000),
    ...(heard.body.data === 'heard' ? [] : [`the poll did not hear: ${heard.text}`]),
    ...(heard.took < 2000 ? [] : [`the poll heard after ${heard.took} ms`]),
    ...(ready.status === 200 ? [] : [`/readyz: ${ready.text}`]),
    ...(broker.status().up ? [] : ['not up']),
  ];
}

test('whatever a method does, every request is answered in time, nothing is unhandled, and a set is heard afterwards', async () => {
  const { apps, publicUrl, internalUrl } = await ports();
  const cases = METHODS.flatMap(method => Object.keys(WAYS).map(way => [method, way] as const));
  const all = Promise.all(
    cases.map(async ([method, way], number) => {
      const urls = { pub: `${publicUrl}/${number}`, own: `${internalUrl}/${number}` };
      const mount = (app: Tagwait) => {
        apps[number] = app;
      };
      const faults = await faultsOf(method, way, urls, mount);
      return faults.map(fault => `${method} ${way}: ${fault}`);
    }),
  );
  expect((await pass(all)).flat()).toEqual([]);
  expect(unhandled).toEqual([]);
}, 120_000);
