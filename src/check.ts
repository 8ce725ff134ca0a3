/** `tagwait check`: checks the settings, given as for the service, and then whether the store answers. */
import { version } from './assets.js';
import { WrongStore } from './brokers/broker.js';
import { Misconfigured, readConfig, weaknesses } from './config.js';
import { readEnvironment } from './environment.js';
import { createLog, newNodeId } from './log.js';
import type { CommandContext } from './output.js';
import type { Config } from './settings.js';

/** Warnings go to stderr too, and do not change the exit code. @returns the exit code: 0, 1 if the store does not answer, 2 for invalid settings and a store of another kind */
export async function check(args: readonly string[], { env, out, err }: CommandContext): Promise<number> {
  let config: Config;
  try {
    config = readConfig(args, env, version);
  } catch (error) {
    if (!(error instanceof Misconfigured)) throw error;
    for (const fault of error.faults) err(`tagwait: ${fault}`);
    return 2;
  }
  for (const warning of [...readEnvironment(env).warnings, ...weaknesses(config)])
    err(`tagwait: warning: ${warning}`);
  // no other command needs the client of Redis
  const { brokerOf, storeName } = await import('./store.js');
  const store = storeName(config);
  const broker = brokerOf(config, createLog('silent', newNodeId()));
  try {
    await broker.start(NO_EVENTS);
    const { up, cause } = broker.status();
    out(JSON.stringify({ settings: 'ok', store, up }));
    if (!up) err(`tagwait: ${store}: ${cause ?? 'no answer'}`);
    return up ? 0 : 1;
  } catch (error) {
    if (!(error instanceof WrongStore)) throw error;
    err(`tagwait: ${error.message}`);
    return 2;
  } finally {
    await broker.close();
  }
}

/** Of a broker that holds nothing. */
const NO_EVENTS = {
  entry: () => {},
  gap: () => {},
  held: () => 0,
  drop: () => {},
  describe: () => ({ id: '', held: 0, version, uptime: 0 }),
};
