/** Nodes as processes of their own, which keep their ports when they are restarted, and a backend that sets on them. */
import { Agent } from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';
import { call } from '../chaos/call.js';
import { type Spawned, spawned } from '../harness.js';
import { type Owner, onTestFinished } from '../owner.js';
import { freePort } from '../redis.js';

/** `SIGTERM`: the node drains; `SIGKILL`: its connections are reset */
export type Signal = 'SIGTERM' | 'SIGKILL';

export interface Node {
  publicPort: number;
  internalUrl: string;
  agent: Agent;
  /** Ends the process and starts another one. @returns how the first one ended */
  restart(signal: Signal): Promise<number | string>;
  /** Ends the process. */
  end(signal: Signal): Promise<number | string>;
}

export async function startNode(env: Record<string, string>, own: Owner = onTestFinished): Promise<Node> {
  const [publicPort, internalPort] = [await freePort(), await freePort()];
  const ports = { TAGWAIT_PUBLIC_PORT: String(publicPort), TAGWAIT_INTERNAL_PORT: String(internalPort) };
  const start = () => spawned({ ...ports, ...env }, own);
  let now: Spawned = await start();
  const end = (signal: Signal) => {
    now.process.kill(signal);
    return now.ended;
  };
  return {
    publicPort,
    internalUrl: `http://127.0.0.1:${internalPort}`,
    agent: new Agent({ keepAlive: true }),
    end,
    async restart(signal) {
      const ended = await end(signal);
      now = await start();
      return ended;
    },
  };
}

/** The answer to a set. */
interface Reply {
  received?: boolean;
}

/** Sets, and repeats with the same `id` on the next node until one answers 200. @throws if it is refused */
export async function store(
  nodes: readonly Node[],
  body: { id: string } & Record<string, unknown>,
): Promise<Reply> {
  for (let tries = 0; ; tries++) {
    const { internalUrl, agent } = nodes[tries % nodes.length] as Node;
    const signal = AbortSignal.timeout(20_000);
    const answer = await call<Reply>(`${internalUrl}/status/set`, {
      agent,
      signal,
      body: JSON.stringify(body),
    }).catch(() => undefined);
    if (answer?.status === 200) return answer.reply;
    if (answer && answer.status !== 503) throw new Error(`${body.id} was answered ${answer.status}`);
    await pause(50);
  }
}
