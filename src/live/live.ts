/**
 * The live page: an operator's view of this node, updated by tagwait itself. It uses a second long poll with its own
 * embedded store, so that it works while Redis is away and its key cannot be polled on the public port.
 */
import { createHash, randomBytes } from 'node:crypto';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { MemoryBroker } from '../brokers/memory.js';
import { LongPoll } from '../hold/longpoll.js';
import { Limits } from '../limits.js';
import type { Logger } from '../log.js';
import type { Metrics } from '../metrics.js';
import { Admissions } from '../routes/admission.js';
import type { LivePage } from '../routes/internal.js';
import { PollRoute } from '../routes/poll.js';
import type { Snapshot } from '../samples.js';
import { SAMPLED, Sampler } from './sampler.js';

/** Interval of samples, ms. */
const SAMPLE_INTERVAL = 2000;
/** Samples kept: five minutes. */
const KEPT = 150;
/** Resolution of the event loop delay, ms. Node.js includes it in the delay, so it is subtracted. */
const RESOLUTION = 20;
/** Samples kept for a page that polls late. */
const HISTORY = 16;
/** Hold of the page's polls, seconds. Short enough for a proxy with default timeouts. */
const HOLD = 20;

export interface LiveOptions {
  /** the page and the client, as text */
  page: string;
  client: string;
  version: string;
  /** name of the store, for the page */
  store: string;
  maxHeld: number;
  log: Logger;
  /**
   * of several processes behind one port: the key that all use, because a page may reach any of them, and their
   * snapshots
   */
  shared?: { key: string; onSnapshot(listener: (snapshot: Snapshot) => void): void } | undefined;
}

export interface Live extends LivePage {
  snapshot(): Promise<Snapshot>;
  close(): Promise<void>;
}

export async function startLive(longpoll: LongPoll, metrics: Metrics, options: LiveOptions): Promise<Live> {
  const { page, client, version, store, maxHeld, log, shared } = options;
  // the key gives access to the samples; the internal port returns it
  const key = shared?.key ?? randomBytes(16).toString('base64url');
  const inner = new LongPoll(new MemoryBroker({ history: HISTORY }), { id: 'live', version });
  await inner.start();
  const sampler = new Sampler(KEPT);
  const measure = measuring(metrics);
  // while the store is away a survey would only time out
  const others = async () => (longpoll.store().up ? longpoll.nodes().catch(() => null) : null);
  const set = async (sample: unknown, nodes: unknown) => {
    const value = { sample, node: longpoll.describe(), nodes };
    return (await inner.set(key, value, { ttl: SAMPLE_INTERVAL * HISTORY })).watched;
  };
  const failed = (err: unknown) => log.error({ err }, 'the live page could not be updated');
  const feed = await startFeed({ sampler, snapshot: measure.snapshot, others, set, shared, failed });
  return {
    page,
    client,
    policy: policyOf(page),
    poll: pollOf(inner, log),
    key,
    snapshot: measure.snapshot,
    now: async () => ({
      key,
      every: SAMPLE_INTERVAL,
      kept: KEPT,
      samples: sampler.kept,
      maxHeld: maxHeld * feed.processes(),
      store,
      node: longpoll.describe(),
      nodes: await others(),
    }),
    async close() {
      feed.stop();
      measure.stop();
      await inner.close();
    },
  };
}

interface FeedOptions {
  sampler: Sampler;
  snapshot(): Promise<Snapshot>;
  others(): Promise<unknown>;
  /** @returns true: a page is open */
  set(sample: unknown, nodes: unknown): Promise<boolean>;
  shared: LiveOptions['shared'];
  failed(error: unknown): void;
}

/** Sets a sample every two seconds: of this process, or of all processes, which then come by `shared`. */
async function startFeed({ sampler, snapshot, others, set, shared, failed }: FeedOptions) {
  let watched = false;
  let processes = 1;
  async function take(given: Snapshot): Promise<void> {
    ({ processes } = given);
    const sample = sampler.take(given.measured, given.loop, given.at);
    // the other nodes are asked only while a page is open
    if (sample) watched = await set(sample, watched ? await others() : null);
  }
  let timer: NodeJS.Timeout | undefined;
  if (shared) shared.onSnapshot(given => void take(given).catch(failed));
  else {
    await take(await snapshot());
    timer = setInterval(() => snapshot().then(take).catch(failed), SAMPLE_INTERVAL).unref();
  }
  return { processes: () => processes, stop: () => clearInterval(timer) };
}

/** Takes snapshots of this process: its metrics, and the p99 of the event loop delay since the last one, ms. */
function measuring(metrics: Metrics): { snapshot(): Promise<Snapshot>; stop(): void } {
  const loop = monitorEventLoopDelay({ resolution: RESOLUTION });
  loop.enable();
  return {
    async snapshot() {
      const delay = Math.max(0, loop.percentile(99) / 1e6 - RESOLUTION);
      loop.reset();
      const measured = await metrics.values(SAMPLED);
      return { at: Date.now(), measured, loop: Math.round(delay * 10) / 10, processes: 1 };
    },
    stop: () => void loop.disable(),
  };
}

/** The route of the page's polls: without limits, tickets and metrics of its own. */
function pollOf(inner: LongPoll, log: Logger): PollRoute {
  const none = { maxHeld: 0, maxHeldPerKey: 0, maxHeldPerIp: 0, maxPollsPerIp: 0, trustProxy: 0 };
  const admissions = new Admissions(inner, new Limits(none), { origins: [], secrets: undefined });
  return new PollRoute(
    { longpoll: inner, metrics: { asked() {}, answered() {} }, admissions },
    { hold: HOLD, log },
  );
}

/** No resources from other origins, and only the script and style of the page itself. */
function policyOf(page: string): string {
  const hash = (part: string) => `'sha256-${createHash('sha256').update(part).digest('base64')}'`;
  const inside = (tag: string) => hash(new RegExp(`<${tag}>([^]*?)</${tag}>`).exec(page)?.[1] ?? '');
  return `default-src 'none'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; script-src 'self' ${inside('script')}; style-src ${inside('style')}`;
}
