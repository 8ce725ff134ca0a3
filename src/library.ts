/** Creates tagwait as a library, with the store of the settings or the user's own broker. */
import type { Broker } from './brokers/broker.js';
import { GuardedBroker } from './brokers/guarded.js';
import { compose } from './compose.js';
import { libraryConfigOf, Misconfigured } from './config.js';
import { createLog, newNodeId } from './log.js';
import type { Config } from './settings.js';
import { brokerOf, storeName } from './store.js';
import type { Options, Tagwait } from './tagwait.js';

/**
 * @param options settings by name (`hold: 25`), with the same values as flags; see docs/configuration.md
 * @throws {Misconfigured} with all faults at once
 */
export async function createTagwait(given: Options = {}): Promise<Tagwait> {
  if (typeof given !== 'object' || given === null)
    throw new Misconfigured(['the options: give an object, or nothing']);
  const { broker, ...options } = given;
  const config = libraryConfigOf(options);
  const log = createLog(config.logLevel, newNodeId());
  if (broker !== undefined) checkBroker(broker, config);
  const store = broker ? new GuardedBroker(broker, log) : brokerOf(config, log);
  return (await compose(config, log, store)).tagwait;
}

const PROMISED = ['start', 'set', 'subscribe', 'unsubscribe', 'peek', 'nodes', 'status', 'close'] as const;
const OPTIONAL = ['verify', 'drop', 'prove'] as const;
/** The longest delay of a Node.js timer, ms. */
const MAX_LEASE = 2 ** 31 - 1;

/** @throws {Misconfigured} the broker lacks a method, or the settings name another store */
function checkBroker(broker: unknown, config: Config): void {
  const faults = faultsOf(broker);
  if (storeName(config) !== 'embedded')
    faults.push('broker: not allowed together with the address of a Redis; give one store');
  if (faults.length > 0) throw new Misconfigured(faults);
}

function faultsOf(given: unknown): string[] {
  if (typeof given !== 'object' || given === null) {
    const found =
      given === null ? 'null' : typeof given === 'function' ? 'a function or class' : typeof given;
    return [`broker: ${found} is no broker; give an object with the methods of docs/brokers.md`];
  }
  const broker = given as Partial<Broker>;
  const { lease } = broker;
  const lacks: string[] = PROMISED.filter(method => typeof broker[method] !== 'function');
  if (!(typeof lease === 'number' && lease > 0 && (lease <= MAX_LEASE || lease === Number.POSITIVE_INFINITY)))
    lacks.push(`lease, in ms above 0 and at most ${MAX_LEASE}, or Infinity`);
  else if (lease !== Number.POSITIVE_INFINITY && !broker.verify) lacks.push('verify, for a finite lease');
  const odd = OPTIONAL.filter(method => broker[method] !== undefined && typeof broker[method] !== 'function');
  return [
    ...lacks.map(what => `broker: lacks ${what}; docs/brokers.md says what a broker needs`),
    ...odd.map(method => `broker: ${method} is no function; give one, or leave it out`),
  ];
}
