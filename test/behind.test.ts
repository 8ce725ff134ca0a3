/** Every proxy of deploy/ before two nodes over Redis, all at once: hold, reload, cookies, a page that leaves, a drain, a CDN. */
import { get as getHttp } from 'node:http';
import { connect as connectHttp2 } from 'node:http2';
import { get as getHttps } from 'node:https';
import { connect as connectTcp } from 'node:net';
import { networkInterfaces } from 'node:os';
import { connect as connectTls } from 'node:tls';
import { afterAll, describe, expect, onTestFinished, test } from 'vitest';
import type { Service } from '../src/service.js';
import { held, service, set, until } from './harness.js';
import { ALL, ask, hangUp, program, startProxy } from './proxies.js';
import { redisServer } from './redis.js';
import { scrape } from './scrape.js';
import { socketTo } from './websocket.js';

const installed = ALL.filter(kind => program(kind));
for (const kind of ALL.filter(name => !program(name)))
  console.log(`${kind} is not on this machine: it is left out (test/servers.sh installs it)`);
const portOf = (url: string) => Number(new URL(url).port);

/** Apache notices that a client has left when it writes the response. */
const NOTICES = installed.filter(kind => kind !== 'apache2');
const HTTP2 = installed.filter(kind => ['nginx', 'haproxy', 'caddy', 'apache2'].includes(kind));
/** What makes a new process read the configuration, and a line that shows that it did. */
const RELOADS: Record<string, [NodeJS.Signals, after: string, line: string]> = {
  nginx: ['SIGHUP', 'access_log off;', 'add_header X-Reloaded yes;'],
  haproxy: ['SIGUSR2', 'default_backend tagwait', 'http-response set-header X-Reloaded yes'],
  apache2: ['SIGUSR1', 'ProxyPreserveHost On', 'Header set X-Reloaded yes'],
};

afterAll(hangUp);

interface Front {
  kind: string;
  url: string;
  reload(signal: NodeJS.Signals, change: (text: string) => string): void;
}
const startAll = (kinds: string[], nodes: number[], cdn?: string): Promise<Front[]> =>
  Promise.all(kinds.map(async kind => ({ kind, ...(await startProxy(kind, nodes, cdn)) })));

async function heldNow(nodes: Service[]): Promise<number> {
  const counts = await Promise.all(
    nodes.map(async node => (await scrape(node.internalUrl)).get('tagwait_held')),
  );
  return counts.reduce<number>((sum, count) => sum + (count ?? 0), 0);
}

/** A held poll of a page that leaves: by its own connection. @returns ends it */
function leaver({ url, kind }: Front): () => void {
  const port = portOf(url);
  const tls = { port, host: '127.0.0.1', rejectUnauthorized: false };
  const socket = url.startsWith('https:')
    ? connectTls({ ...tls, ALPNProtocols: ['http/1.1'] })
    : connectTcp(port, '127.0.0.1');
  onTestFinished(() => void socket.destroy());
  socket.on('error', () => {});
  socket.write(`GET /status/get?key=leave-${kind} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\n\r\n`);
  return () => socket.end();
}

/** The same as a stream of an HTTP/2 connection that stays open, as that of a browser with other tabs does. */
function streamLeaver({ url, kind }: Front): () => void {
  const session = connectHttp2(url, { rejectUnauthorized: false });
  onTestFinished(() => session.destroy());
  session.on('error', () => {});
  const stream = session.request({ ':path': `/status/get?key=leave-${kind}` });
  stream.on('error', () => {});
  return () => stream.close(8);
}

/** An event stream to its end. @returns its text */
function stream({ url }: Front, key: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const get = url.startsWith('https:') ? getHttps : getHttp;
    const request = get(`${url}/status/events?key=${key}`, { rejectUnauthorized: false }, response => {
      let text = '';
      response.setEncoding('utf8').on('data', chunk => {
        text += chunk;
      });
      response.on('end', () => resolve(text)).on('error', reject);
    });
    request.on('error', reject);
  });
}

/** An old process closes its idle connections when it is replaced. */
function ifReset(error: NodeJS.ErrnoException): undefined {
  if (error.code !== 'ECONNRESET') throw error;
}

/** Opens again what an old process accepted just before it closed, as a page does. */
async function opened<T>(open: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await open();
    } catch (error) {
      ifReset(error as NodeJS.ErrnoException);
      await new Promise(resolve => setTimeout(resolve, 50));
    }
  }
}

/** Polls as the page's script does: after `moved`, and after a failure, again. */
async function hears({ url }: Front, key: string): Promise<{ data: unknown; failures: string[] }> {
  const failures: string[] = [];
  for (;;) {
    try {
      const { reply } = await ask(`${url}/status/get?key=${key}`);
      if (reply.code === 0) return { data: reply.data, failures };
      if (reply.retry) await new Promise(resolve => setTimeout(resolve, reply.retry));
    } catch (error) {
      failures.push(String(error));
      await new Promise(resolve => setTimeout(resolve, 100));
    }
  }
}

describe.skipIf(installed.length === 0)(`behind ${installed.join(', ')}`, () => {
  test('held, reloaded, heard; streams and WebSockets; 16 KiB of cookies; a page that leaves is let go; a node drains', async () => {
    const { url: redisUrl } = await redisServer();
    const options = { redisUrl, trustProxy: 1, hold: 90, drain: 1, maxPollsPerIp: 0 };
    const nodes = await Promise.all([service(options), service(options)]);
    const [one, two] = nodes as [Service, Service];
    const fronts = await startAll(
      installed,
      nodes.map(({ publicUrl }) => portOf(publicUrl)),
    );

    const waiting = Promise.all(fronts.map(front => ask(`${front.url}/status/get?key=held-${front.kind}`)));
    // looked at below
    waiting.catch(() => {});
    await until(async () => (await heldNow(nodes)) === installed.length);
    for (const { kind, url, reload } of fronts) {
      const [signal, after, line] = RELOADS[kind] ?? [];
      if (!signal) continue;
      reload(signal, text => text.replace(`${after}`, `${after}\n${line}\n`));
      const reloaded = async () => {
        const answer = await ask(`${url}/status/get?key=a&hold=0`).catch(ifReset);
        return answer?.headers['x-reloaded'] === 'yes';
      };
      await until(reloaded);
    }
    expect(await heldNow(nodes), 'after the reloads').toBe(installed.length);
    for (const { kind } of fronts) await set(one.internalUrl, { key: `held-${kind}`, value: kind });
    expect((await waiting).map(({ reply }) => reply.data)).toEqual(installed);

    // an old process may be about to close a connection that would be used again
    hangUp();
    const streams = fronts.map(front => opened(() => stream(front, `stream-${front.kind}`)));
    const sockets = await Promise.all(
      fronts.map(({ url }) => opened(() => socketTo(url, { rejectUnauthorized: false }))),
    );
    for (const [index, { kind }] of fronts.entries()) sockets[index]?.watch(`socket-${kind}`);
    await until(async () => (await heldNow(nodes)) === 2 * installed.length);
    for (const way of ['stream', 'socket'])
      for (const { kind } of fronts)
        await set(two.internalUrl, { key: `${way}-${kind}`, value: kind, final: true });
    for (const [index, { kind }] of fronts.entries()) {
      expect(await streams[index], kind).toMatch(
        new RegExp(`event: value\nfinal: true\ndata: "${kind}"\n\nevent: end\ndata: final\n\n$`),
      );
      await until(() => sockets[index]?.of(`socket-${kind}`).some(({ data }) => data === kind));
      sockets[index]?.socket.close();
    }
    // a value that is not final would leave the stream open
    await until(async () => (await heldNow(nodes)) === 0);

    const Cookie = `a=${'b'.repeat(16_383 - 'Cookie: a='.length)}`;
    for (const { kind, url } of fronts)
      expect((await ask(`${url}/status/get?key=a&hold=0`, undefined, { Cookie })).reply.code, kind).toBe(-1);

    const leave = [
      ...fronts.filter(({ kind }) => NOTICES.includes(kind)).map(leaver),
      ...fronts.filter(({ kind }) => NOTICES.includes(kind) && HTTP2.includes(kind)).map(streamLeaver),
    ];
    await until(async () => (await heldNow(nodes)) === leave.length);
    for (const end of leave) end();
    // a hold is 90 s
    await until(async () => (await heldNow(nodes)) === 0);

    const answers = fronts.map(front => hears(front, `drain-${front.kind}`));
    await until(async () => (await heldNow(nodes)) === installed.length);
    await one.stop();
    for (const { kind } of fronts) await held(two.internalUrl, `drain-${kind}`, 1);
    for (const { kind } of fronts) await set(two.internalUrl, { key: `drain-${kind}`, value: kind });
    for (const [index, { kind }] of fronts.entries())
      expect(await answers[index], kind).toEqual({ data: kind, failures: [] });
  });

  test('behind a CDN, each of its visitors is one, and only the CDN may name them', async () => {
    const kinds = ['nginx', 'haproxy', 'caddy'].filter(kind => installed.includes(kind));
    // HAProxy's two checks a second count too
    const limits = { maxPollsPerIp: 4 };
    for (const [trustProxy, some] of [
      [1, kinds.filter(kind => kind !== 'caddy')],
      [2, kinds.filter(kind => kind === 'caddy')],
    ] as const) {
      const { publicUrl } = await service({ ...limits, trustProxy });
      const port = portOf(publicUrl);
      for (const { kind, url } of await startAll([...some], [port, port], '127.0.0.5/32')) {
        const polls = (from: string, visitor: (number: number) => number) =>
          Promise.all(
            Array.from({ length: 24 }, async (_, number) => {
              const headers = { 'X-Forwarded-For': `198.51.100.9, 192.0.2.${visitor(number)}` };
              return (await ask(`${url}/status/get?key=a&hold=0`, from, headers)).reply.code;
            }),
          );
        const busy = (codes: number[]) => codes.filter(code => code === -3).length;
        expect(busy(await polls('127.0.0.5', number => number)), `${kind}: a visitor each`).toBe(0);
        expect(busy(await polls('127.0.0.5', () => 99)), `${kind}: one visitor`).toBeGreaterThan(5);
        expect(busy(await polls('127.0.0.6', number => number)), `${kind}: no CDN`).toBeGreaterThan(5);
      }
    }
  });

  const ipv6 = Object.values(networkInterfaces()).some(list =>
    list?.some(({ address }) => address === '::1'),
  );
  test.skipIf(!ipv6 || !installed.includes('haproxy'))('HAProxy listens on IPv6 too', async () => {
    const { publicUrl } = await service();
    const [front] = await startAll(['haproxy'], [portOf(publicUrl), portOf(publicUrl)]);
    const url = `https://[::1]:${portOf(front?.url as string)}/healthz`;
    expect((await ask(url, '::1')).status).toBe(200);
  });
});
