/**
 * The live page's feed: tagwait for itself. A second long poll with an embedded store of its own, so that it works while
 * Redis is away, and so that no key of it can be asked for on the public port.
 */
import { createHash, randomBytes } from 'node:crypto';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { MemoryBroker } from '../brokers/memory.js';
import { LongPoll } from '../hold/longpoll.js';
import { Limits } from '../limits.js';
import type { Logger } from '../log.js';
import type { Look, Metrics } from '../metrics.js';
import type { LivePage } from '../routes/internal.js';
import { PollRoute } from '../routes/poll.js';
import { LOOKED_AT, Sampler } from './sampler.js';

/** ms between two looks, and how many are kept: five minutes. */
const EVERY = 2000;
const KEPT = 150;
/** ms between the ticks by which the event loop's delay is told; counted into it. */
const RESOLUTION = 20;
/** Looks that a page may miss on its way. */
const MISSED = 16;
/** Seconds: a page behind a proxy that is not set up for holds still works. */
const HOLD = 20;

export interface LiveOptions {
  /** the page and the client, as text */
  page: string;
  client: string;
  version: string;
  /** what the page shows beside the numbers */
  store: string;
  maxHeld: number;
  log: Logger;
  /** given when several processes share the port: the key of all, since a page may reach any of them, and who looks */
  shared?: { key: string; onLook(take: (look: Look) => void): void } | undefined;
}

export interface Live extends LivePage {
  look(): Promise<Look>;
  close(): Promise<void>;
}

export async function startLive(longpoll: LongPoll, metrics: Metrics, options: LiveOptions): Promise<Live> {
  const { page, client, version, store, maxHeld, log, shared } = options;
  // who knows the key may watch: it is told to those who may see the rest of the internal port
  const key = shared?.key ?? randomBytes(16).toString('base64url');
  const inner = new LongPoll(new MemoryBroker({ history: MISSED }), { id: 'live', version });
  await inner.start();
  const sampler = new Sampler(KEPT);
  const loop = monitorEventLoopDelay({ resolution: RESOLUTION });
  loop.enable();
  let watched = false;
  // without a store there is nobody to ask, and asking would take its time
  const others = async () => (longpoll.store().up ? longpoll.nodes().catch(() => null) : null);

  let processes = 1;

  async function look(): Promise<Look> {
    const delay = Math.max(0, loop.percentile(99) / 1e6 - RESOLUTION);
    loop.reset();
    const measured = await metrics.values(LOOKED_AT);
    return { at: Date.now(), measured, loop: Math.round(delay * 10) / 10, processes: 1 };
  }
  async function take(given: Look): Promise<void> {
    ({ processes } = given);
    const sample = sampler.take(given.measured, given.loop, given.at);
    if (!sample) return;
    // the other nodes are asked only while somebody looks
    const nodes = watched ? await others() : null;
    ({ watched } = await inner.set(
      key,
      { sample, node: longpoll.describe(), nodes },
      { ttl: EVERY * MISSED },
    ));
  }
  const failed = (err: unknown) => log.error({ err }, 'the live page');
  let looking: NodeJS.Timeout | undefined;
  if (shared) shared.onLook(given => void take(given).catch(failed));
  else {
    await take(await look());
    looking = setInterval(() => look().then(take).catch(failed), EVERY).unref();
  }

  const none = { maxHeld: 0, maxHeldPerKey: 0, maxHeldPerIp: 0, maxPollsPerIp: 0, trustProxy: 0 };
  const route = new PollRoute(inner, { asked() {}, answered() {} }, new Limits(none), {
    hold: HOLD,
    origins: [],
    secrets: undefined,
    log,
  });
  const hash = (part: string) => `'sha256-${createHash('sha256').update(part).digest('base64')}'`;
  const inside = (tag: string) => hash(new RegExp(`<${tag}>([^]*?)</${tag}>`).exec(page)?.[1] ?? '');
  return {
    page,
    client,
    // nothing from anywhere else, and nothing that is not on the page as it is in the package
    policy: `default-src 'none'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; script-src 'self' ${inside('script')}; style-src ${inside('style')}`,
    poll: route,
    key,
    look,
    now: async () => ({
      key,
      every: EVERY,
      kept: KEPT,
      samples: sampler.kept,
      maxHeld: maxHeld * processes,
      store,
      node: longpoll.describe(),
      nodes: await others(),
    }),
    async close() {
      clearInterval(looking);
      loop.disable();
      await inner.close();
    },
  };
}
