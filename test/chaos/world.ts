/** What the faults happen to: nodes, a Redis of one of four kinds, and a line for every path between them. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { Agent } from 'node:http';
import { Redis } from 'ioredis';
import { onTestFinished } from 'vitest';
import { type Spawned, spawned } from '../harness.js';
import { type Line, line } from '../line.js';
import { type RedisServer, redisCluster, redisSentinels, redisServer } from '../redis.js';

export const KINDS = ['server', 'aof', 'sentinel', 'cluster'] as const;
export type Kind = (typeof KINDS)[number];

/** The user that docs/redis.md says is enough. */
export const USER = 'tagwait';
export const PASSWORD = 'secret';

/** How long a node may take to start on a busy machine, ms. */
const START = 60_000;
/** After how long a silent master is replaced in a long run, ms: on a busy machine no other is taken for dead. */
const PATIENT = 4000;

/** What pages meet on their way, as shares of polls. */
export interface Network {
  /** sent to two nodes */
  repeat: number;
  /** broken off within half a second */
  cut: number;
  /** given up by pages that leave and come back */
  leave: number;
}

/** What the invariants must know of a node: since when nothing is wrong around it. Times are of the monotonic clock, ms. */
export class Health {
  /** Redis cannot be reached from the node, or the node does not run; faults may overlap */
  #cutOff = 0;
  #missing = 0;
  #reachableSince = performance.now();
  #missedAt = Number.NEGATIVE_INFINITY;

  /** Infinity: it is not now. */
  get reachableSince(): number {
    return this.#cutOff > 0 ? Number.POSITIVE_INFINITY : this.#reachableSince;
  }
  /** The last moment at which a message or a subscription may have been lost. */
  get missedAt(): number {
    return this.#cutOff + this.#missing > 0 ? performance.now() : this.#missedAt;
  }
  async cutOff(work: Promise<void>): Promise<void> {
    this.#cutOff++;
    await work.finally(() => {
      this.#cutOff--;
      this.#reachableSince = performance.now();
      this.#missedAt = performance.now();
    });
  }
  async missing(work: Promise<void>): Promise<void> {
    this.#missing++;
    await work.finally(() => {
      this.#missing--;
      this.#missedAt = performance.now();
    });
  }
}

/** One tagwait process, or several behind the same ports, and the next after it was killed. */
export class Node {
  now!: Spawned;
  alive = false;
  /** when it began, on the monotonic clock in ms */
  since = 0;
  readonly health = new Health();
  /** holds the connections of pages and backends to it */
  readonly agent = new Agent({ keepAlive: true });
  #front!: Line;

  /** @param paths to each Redis server and Sentinel */
  constructor(
    readonly name: string,
    readonly paths: readonly Line[],
    readonly workers: number,
    readonly settings: Record<string, string>,
  ) {}

  /** The line that some of its pages connect through; it stays the same when the node is started again. */
  get front(): Line {
    return this.#front;
  }
  get lineUrl(): string {
    return `http://127.0.0.1:${this.#front.port}`;
  }

  async start(): Promise<void> {
    this.now = await spawned(this.settings, onTestFinished, START);
    this.#front ??= await line(() => Number(new URL(this.now.publicUrl).port));
    this.since = performance.now();
    this.alive = true;
  }
  async kill(): Promise<void> {
    this.alive = false;
    this.now.process.kill('SIGKILL');
    await this.now.ended;
  }
  /** Resets all connections of pages, at once. */
  cutPages(): void {
    this.agent.destroy();
    this.front.cut();
  }
  workerPids(): number[] {
    if (this.workers < 2) return [];
    const children = execFileSync('pgrep', ['-P', String(this.now.process.pid)], { encoding: 'utf8' });
    return children.trim().split('\n').map(Number);
  }
  /** To the process and its workers. */
  signal(name: 'SIGSTOP' | 'SIGCONT'): void {
    for (const pid of [this.now.process.pid as number, ...this.workerPids()]) process.kill(pid, name);
  }
}

export interface Plan {
  kind: Kind;
  nodes: number;
  /** processes of the last node; the others have one */
  workers: number;
  /** seconds */
  hold: number;
  /** a run of minutes */
  long: boolean;
  /** is given what happens, for the time line */
  note(text: string): void;
}

export class World {
  readonly nodes: Node[] = [];
  readonly network: Network = { repeat: 0, cut: 0, leave: 0.05 };
  /** is called when Redis can be reached again */
  onHealed: () => void = () => {};

  constructor(
    readonly kind: Kind,
    readonly servers: readonly RedisServer[],
    readonly settings: Record<string, string>,
    readonly note: (text: string) => void,
  ) {}

  alive(): Node[] {
    return this.nodes.filter(node => node.alive);
  }
  /** During this work these nodes cannot reach Redis, or do not run. */
  async cutOff(nodes: readonly Node[], work: () => Promise<void>): Promise<void> {
    const done = work();
    await Promise.all([done, ...nodes.map(({ health }) => health.cutOff(done))]);
    this.onHealed();
  }
  /** During this work messages to these nodes, or what Redis knows of them, may be lost. */
  async missing(nodes: readonly Node[], work: () => Promise<void>): Promise<void> {
    const done = work();
    await Promise.all([done, ...nodes.map(({ health }) => health.missing(done))]);
  }
}

export async function world({ kind, nodes, workers, hold, long, note }: Plan): Promise<World> {
  const { servers, sentinels, settings } = await store(kind, long);
  const made = new World(kind, servers, settings, note);
  const ports = [...servers.map(({ port }) => port), ...sentinels];
  for (let count = 1; count <= nodes; count++) {
    const paths = await Promise.all(ports.map(port => line(port)));
    const own = count === nodes ? workers : 1;
    made.nodes.push(
      new Node(`node ${count}`, paths, own, {
        ...settings,
        NODE_OPTIONS: `--import ${new URL('reroute.js', import.meta.url)}`,
        CHAOS_ROUTES: paths.map((path, index) => `${ports[index]}:${path.port}`).join(),
        TAGWAIT_WORKERS: String(own),
        TAGWAIT_HOLD: String(hold),
        TAGWAIT_LOG_LEVEL: 'silent',
        TAGWAIT_HISTORY: '64',
        TAGWAIT_MAX_HELD_PER_KEY: '1000',
        TAGWAIT_MAX_POLLS_PER_IP: '0',
      }),
    );
  }
  await Promise.all(made.nodes.map(node => node.start()));
  onTestFinished(() => {
    for (const { agent } of made.nodes) agent.destroy();
  });
  return made;
}

/** The rule of docs/redis.md, as words. @param password in place of its own */
export function userRule(password = PASSWORD): string[] {
  const docs = readFileSync(new URL('../../docs/redis.md', import.meta.url), 'utf8');
  const rule = /ACL SETUSER tagwait (.*)/.exec(docs)?.[1] as string;
  return rule.replace('>PASSWORD', `>${password}`).split(' ');
}

interface Store {
  servers: readonly RedisServer[];
  /** ports */
  sentinels: readonly number[];
  settings: Record<string, string>;
}

async function store(kind: Kind, long: boolean): Promise<Store> {
  if (kind === 'sentinel') {
    const { master, replicas, setting, name } = await redisSentinels(1);
    const sentinels = setting.split(',').map(address => Number(address.split(':')[1]));
    for (const port of long ? sentinels : []) {
      const sentinel = new Redis({ port });
      await sentinel.call('SENTINEL', 'SET', name, 'down-after-milliseconds', String(PATIENT));
      sentinel.disconnect();
    }
    return {
      servers: [master, ...replicas],
      sentinels,
      settings: { TAGWAIT_REDIS_SENTINELS: setting, TAGWAIT_REDIS_MASTER: name },
    };
  }
  // a server that is started again has its user from its arguments
  const user = ['--user', USER, ...userRule()];
  const access = `redis://${USER}:${PASSWORD}@`;
  if (kind === 'cluster') {
    const { nodes, setting } = await redisCluster(1, onTestFinished, user);
    for (const { client } of long ? nodes : [])
      await client.config('SET', 'cluster-node-timeout', String(PATIENT));
    return { servers: nodes, sentinels: [], settings: { TAGWAIT_REDIS_CLUSTER: access + setting } };
  }
  const debug = takesDebug() ? ['--enable-debug-command', 'yes'] : [];
  const args = kind === 'aof' ? ['--appendonly', 'yes', '--requirepass', PASSWORD] : user;
  const server = await redisServer([...debug, ...args]);
  const url = `${kind === 'aof' ? `redis://:${PASSWORD}@` : access}127.0.0.1:${server.port}`;
  return { servers: [server], sentinels: [], settings: { TAGWAIT_REDIS_URL: url } };
}

/** Redis 7 and Valkey allow DEBUG only when their arguments say so; Redis 6 always does. */
function takesDebug(): boolean {
  const version = execFileSync('redis-server', ['--version'], { encoding: 'utf8' });
  return Number(/v=(\d+)/.exec(version)?.[1]) >= 7;
}
