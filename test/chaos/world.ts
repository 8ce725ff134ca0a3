/** What the faults happen to: nodes, and a Redis of one of four kinds. */
import type { Spawned } from '../harness.js';
import { spawned } from '../harness.js';
import { type Cluster, type RedisServer, redisCluster, redisSentinels, redisServer } from '../redis.js';

export const KINDS = ['server', 'aof', 'sentinel', 'cluster'] as const;
export type Kind = (typeof KINDS)[number];

export interface World {
  kind: Kind;
  settings: Record<string, string>;
  servers: RedisServer[];
  cluster?: Cluster;
  nodes: Node[];
}

/** One tagwait process, and the next after it was killed. */
export class Node {
  now!: Spawned;
  alive = false;
  constructor(readonly settings: Record<string, string>) {}
  async start(): Promise<void> {
    this.now = await spawned(this.settings);
    this.alive = true;
  }
  async kill(): Promise<void> {
    this.alive = false;
    this.now.process.kill('SIGKILL');
    await this.now.ended;
  }
}

export async function world(kind: Kind, nodes: number, hold: number): Promise<World> {
  const { servers, settings, cluster } = await store(kind);
  const common = {
    TAGWAIT_HOLD: String(hold),
    TAGWAIT_LOG_LEVEL: 'silent',
    TAGWAIT_HISTORY: '64',
    TAGWAIT_MAX_HELD_PER_KEY: '1000',
    TAGWAIT_MAX_POLLS_PER_IP: '0',
  };
  const made: World = { kind, settings, servers, nodes: [], ...(cluster ? { cluster } : {}) };
  for (let count = 0; count < nodes; count++) {
    const node = new Node({ ...settings, ...common });
    await node.start();
    made.nodes.push(node);
  }
  return made;
}

async function store(
  kind: Kind,
): Promise<{ servers: RedisServer[]; settings: Record<string, string>; cluster?: Cluster }> {
  if (kind === 'sentinel') {
    const { master, replicas, setting, name } = await redisSentinels(1);
    return {
      servers: [master, ...replicas],
      settings: { TAGWAIT_REDIS_SENTINELS: setting, TAGWAIT_REDIS_MASTER: name },
    };
  }
  if (kind === 'cluster') {
    const cluster = await redisCluster(1);
    return { servers: cluster.nodes, settings: { TAGWAIT_REDIS_CLUSTER: cluster.setting }, cluster };
  }
  const server = await redisServer(kind === 'aof' ? ['--appendonly', 'yes'] : []);
  return { servers: [server], settings: { TAGWAIT_REDIS_URL: server.url } };
}
