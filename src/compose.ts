/** Wires everything: a broker, the long poll, the routes. */
import { randomBytes } from 'node:crypto';
import { asset, version } from './assets.js';
import type { Broker } from './brokers/broker.js';
import { weaknesses } from './config.js';
import { LongPoll } from './hold/longpoll.js';
import { type FdBudget, fdBudget, Limits } from './limits.js';
import { type Live, startLive } from './live/live.js';
import { type Logger, nodeOf, throttleLog } from './log.js';
import type { LoginCalls } from './login/calls.js';
import { Logins } from './login/machine.js';
import { Metrics, type MetricsSource } from './metrics.js';
import { linesLost } from './output.js';
import { withPalette } from './palette.js';
import { KEY, KEY_ALLOWED } from './protocol/query.js';
import type { Ticket } from './protocol/ticket.js';
import { type AdmissionOptions, Admissions } from './routes/admission.js';
import { internalRoutes, ticketFor } from './routes/internal.js';
import { asLibrary, badArgument, libraryError } from './routes/library.js';
import { listenerOf } from './routes/listener.js';
import { type LoginOptions, LoginRoutes } from './routes/login.js';
import { type PollOptions, PollRoute } from './routes/poll.js';
import { type PublicOptions, publicRoutes } from './routes/public.js';
import { SetRoute } from './routes/set.js';
import { SocketRoute } from './routes/socket.js';
import type { Peers } from './samples.js';
import type { Config } from './settings.js';
import { storeName } from './store.js';
import type { Listener, Routes, Tagwait } from './tagwait.js';

/** The parts that `startService` needs besides `tagwait`. */
export interface Composed {
  tagwait: Tagwait;
  poll: PollRoute;
  set: SetRoute;
  socket: SocketRoute;
  longpoll: LongPoll;
  limits: Limits;
  metrics: Metrics;
  fds: FdBudget;
  /** Logins of the demo: with a secret of their own when the service has none, since its pages then need no proof. */
  demoLogin: LoginCalls;
  /** Sends all clients to other nodes. @param spread range of the random retry delays, ms */
  drain(spread: number): void;
  live: Live | undefined;
}

const script = (name: string) => asset(`dist/client/${name}.js`);
/** The scripts that the public port serves, by their path without `.js`. */
const SCRIPTS = {
  client: script('tagwait'),
  'client/many': script('many'),
  login: script('login'),
  'login/phone': script('phone'),
};

/** @param publicUrl only if the service has its own ports: then there is a live page */
export async function compose(
  config: Config,
  log: Logger,
  broker: Broker,
  publicUrl?: () => string,
  peers?: Peers,
): Promise<Composed> {
  const fds = fdBudget();
  const { longpoll, metrics, limits } = connect(config, log, broker, fds);
  for (const warning of weaknesses(config)) log.warn(warning);
  if (limits.maxHeld > fds.held)
    log.warn(`TAGWAIT_MAX_HELD: the limits of open files and heap allow for ${fds.held}`);
  await longpoll.start();
  const live = publicUrl
    ? await startLive(longpoll, metrics, livePage(config, limits, log, peers))
    : undefined;
  const options = { ...config, secrets: config.secret, log, scripts: SCRIPTS, version, sharedPort: !!peers };
  const calls = { ...options, maxConcurrent: fds.internal };
  const { poll, socket, publicRoutes, drain } = transportsOf(longpoll, limits, metrics, options);
  const set = new SetRoute(longpoll, metrics, calls);
  const { login, demoLogin } = loginsOf(longpoll, metrics, calls);
  const inward = internalRoutes(longpoll, set, login, {
    ...options,
    own: live && publicUrl && { live, publicUrl },
    scrape: peers?.scrape ?? (() => metrics.text()),
  }) as Routes;
  const tagwait: Tagwait = {
    publicRoutes,
    upgrade: (request, connection, head) => socket.upgrade(request, connection, head),
    internalRoutes: inward,
    ...listenersOf(publicRoutes, inward, log),
    ...callsOf(longpoll, set, ttl => ticketFor({ ttl }, options)),
    login: login.calls,
    drain: (seconds = config.drain) => {
      if (!(Number.isFinite(seconds) && seconds >= 0)) throw badArgument('seconds: give a number from 0');
      drain(seconds * 1000);
    },
    close: async () => {
      await live?.close();
      socket.close();
      await longpoll.close();
    },
  };
  return { tagwait, poll, set, socket, longpoll, limits, metrics, fds, demoLogin, drain, live };
}

function listenersOf(forPages: Routes, forBackends: Routes, log: Logger) {
  const failed = (error: unknown) => log.error({ err: error }, 'a request failed');
  const listener = (routes: Routes): Listener => listenerOf(routes as never, failed);
  return { publicListener: listener(forPages), internalListener: listener(forBackends) };
}

/** Every way to hear a key: polls, event streams and WebSockets. */
function transportsOf(
  longpoll: LongPoll,
  limits: Limits,
  metrics: Metrics,
  options: AdmissionOptions & PollOptions & PublicOptions,
) {
  const admissions = new Admissions(longpoll, limits, options);
  const transport = { longpoll, admissions, metrics };
  const poll = new PollRoute(transport, options);
  const socket = new SocketRoute(transport);
  const drain = (spread: number) => {
    longpoll.drain(spread);
    socket.drain(spread);
  };
  return { poll, socket, publicRoutes: publicRoutes(poll, transport, socket, options) as Routes, drain };
}

/** The login by scan, and that of the demo. */
function loginsOf(longpoll: LongPoll, metrics: Metrics, options: LoginOptions & Pick<Config, 'secret'>) {
  const login = new LoginRoutes(new Logins(longpoll, options.secret), metrics, options);
  const secret = randomBytes(32).toString('base64url');
  const demo = options.secret ? login : new LoginRoutes(new Logins(longpoll, [secret]), metrics, options);
  return { login, demoLogin: demo.calls };
}

/** Options of the live page. With workers, they share one key of it. */
const livePage = (config: Config, { maxHeld }: Limits, log: Logger, peers?: Peers) => ({
  page: withPalette(asset('src/live/live.html')),
  client: SCRIPTS.client,
  version,
  store: storeName(config),
  maxHeld,
  log,
  shared: peers && { key: peers.liveKey, onSnapshot: peers.onSnapshot },
});

/** LongPoll reports events to Metrics; Metrics samples LongPoll at scrape time. Hence the closures. */
function connect(config: Config, log: Logger, broker: Broker, fds: FdBudget) {
  const source: MetricsSource = {
    describe: () => longpoll.describe(),
    ready: () => longpoll.ready(),
    counts: () => longpoll.counts(),
    store: () => longpoll.store(),
    connections: () => limits.connections,
    linesLost,
  };
  const longpoll: LongPoll = new LongPoll(broker, {
    id: nodeOf(log),
    version,
    // sets that wait for a receipt leave room on the internal port
    maxReceipts: Math.ceil(fds.internal / 2),
    observer: {
      delivered: ms => metrics.delivered(ms),
      lost: values => metrics.lost(values),
      subscribed: () => metrics.subscribed(),
      gap: () => metrics.gap(),
      receipt: received => metrics.receipt(received),
      repaired: keys => metrics.repaired(keys),
    },
  });
  const metrics = new Metrics(source);
  const warn = throttleLog((limit, times) =>
    log.warn({ limit, times }, 'limit reached: clients are asked to retry later'),
  );
  const limits: Limits = new Limits(config, fds, limit => {
    metrics.reached(limit);
    warn(limit);
  });
  return { longpoll, metrics, limits };
}

/** The calls of the library, with the same checks as their routes. */
function callsOf(
  longpoll: LongPoll,
  route: SetRoute,
  ticket: (ttl: number | undefined) => Ticket,
): Pick<Tagwait, 'set' | 'newTicket' | 'peek' | 'nodes'> {
  return {
    set: (key, value, options = {}) => asLibrary(() => route.store({ ...options, key, value })),
    newTicket: ttl => {
      try {
        return ticket(ttl);
      } catch (error) {
        throw libraryError(error);
      }
    },
    peek: async key => {
      if (typeof key !== 'string' || !KEY.test(key)) throw badArgument(KEY_ALLOWED);
      return longpoll.peek(key);
    },
    nodes: () => longpoll.nodes(),
  };
}
