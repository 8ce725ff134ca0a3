/** Clients of each kind without a browser. Each watches its keys until their last values, whatever happens to the nodes. */
import { setMaxListeners } from 'node:events';
import { Agent } from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';
import { EventSource } from 'eventsource';
import { WebSocket } from 'ws';
import { call } from '../chaos/call.js';
import { type Owner, onTestFinished } from '../owner.js';
import { type Answer, Log, valuesOf } from './log.js';

/** ms before a request that failed is repeated. */
const AGAIN = 100;

/** @param url of the public port @param own ends the clients */
export type Way = (url: string, keys: readonly string[], own?: Owner) => Log;

/** Runs something for each key, until `own` ends. */
function forEach(
  keys: readonly string[],
  log: Log,
  own: Owner,
  run: (key: string, over: AbortSignal) => Promise<void>,
): Log {
  const over = new AbortController();
  setMaxListeners(0, over.signal); // each request listens
  own(() => over.abort());
  for (const key of keys)
    run(key, over.signal).catch(error => {
      if (!over.signal.aborted) log.faults.push(`${key}: ${error}`);
    });
  return log;
}

/** Polls in JSON. */
export const polls: Way = (url, keys, own = onTestFinished) => {
  const log = new Log();
  const agent = new Agent({ keepAlive: true });
  own(() => agent.destroy());
  return forEach(keys, log, own, async (key, signal) => {
    let since = '';
    while (!signal.aborted) {
      const asked = call<Answer>(`${url}/status/get?key=${key}&since=${since}`, { agent, signal });
      const answer = (await asked.catch(() => undefined))?.reply ?? { code: -6, retry: AGAIN };
      if (answer.code === 0) log.add(key, ...valuesOf(answer));
      else if (answer.code !== -1 && answer.retry === undefined) throw new Error(String(answer.code));
      since = answer.cursor ?? since;
      // one poll more says that the last value was taken
      if (answer.receipt)
        await call(`${url}/status/get?key=${key}&since=${since}&hold=0`, { agent, signal }).catch(() => {});
      if (answer.final) return;
      if (answer.retry !== undefined) await pause(answer.retry, undefined, { signal });
    }
  });
};

/** The package `eventsource`, which does what the EventSource of browsers does. */
export const streams: Way = (url, keys, own = onTestFinished) => {
  const log = new Log();
  for (const key of keys) {
    const stream = new EventSource(`${url}/status/events?key=${key}`);
    own(() => stream.close());
    let lost = 0;
    stream.addEventListener('lost', ({ data }) => {
      lost = Number(data);
    });
    stream.addEventListener('value', ({ data }) => {
      log.add(key, { value: JSON.parse(data), lost, final: false });
      lost = 0;
    });
    const over = () => {
      stream.close();
      const last = log.of(key).at(-1);
      if (last) last.final = true;
    };
    stream.addEventListener('end', ({ data }) => {
      if (data === 'final') over();
      else log.faults.push(`${key}: ${data}`);
    });
    stream.addEventListener('error', ({ code, message }) => {
      // its node was killed after the last value
      if (code === 204) over();
      else if (stream.readyState === EventSource.CLOSED) log.faults.push(`${key}: ${code} ${message}`);
    });
  }
  return log;
};

/** Keys on one socket. */
const ON_ONE_SOCKET = 100;

/** The package `ws`. */
export const sockets: Way = (url, keys, own = onTestFinished) => {
  const log = new Log();
  let over = false;
  own(() => {
    over = true;
  });
  const since = new Map(keys.map(key => [key, '']));
  const open = (mine: readonly string[]) => {
    const left = mine.filter(key => !log.isOver(key));
    if (over || left.length === 0) return;
    const socket = new WebSocket(`${url.replace(/^http/, 'ws')}/status/socket`, 'tagwait.1');
    own(() => socket.terminate());
    const watch = (key: string) => socket.send(JSON.stringify({ watch: key, since: since.get(key) }));
    socket.on('error', () => {}); // 'close' follows
    socket.on('open', () => left.forEach(watch));
    socket.on('message', data => {
      const { key, ...answer } = JSON.parse(String(data)) as Answer & { key: string };
      if (answer.code === 0) log.add(key, ...valuesOf(answer));
      else log.faults.push(`${key}: ${answer.code}`);
      if (answer.cursor !== undefined) since.set(key, answer.cursor);
    });
    socket.on('close', (code, reason) => {
      const { retry = AGAIN } = code === 1012 ? (JSON.parse(String(reason)) as Answer) : {};
      setTimeout(open, retry, mine);
    });
  };
  for (let first = 0; first < keys.length; first += ON_ONE_SOCKET)
    open(keys.slice(first, first + ON_ONE_SOCKET));
  return log;
};

/** `tagwait/subscribe`, as it is built. */
const { subscribe } = (await import(
  new URL('../../dist/subscribe/subscribe.js', import.meta.url).href
)) as typeof import('../../src/subscribe/subscribe.js');

export const subscriptions: Way = (url, keys, own = onTestFinished) => {
  const log = new Log();
  return forEach(keys, log, own, async (key, signal) => {
    for await (const { value, lost, final } of subscribe(key, { url, signal }))
      log.add(key, { value, lost, final });
  });
};
