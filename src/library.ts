/** Creates tagwait as a library, with the store of the settings or the user's own broker. */
import type { Broker } from './brokers/broker.js';
import { brokerOf, compose, newNodeId, storeOf } from './compose.js';
import { libraryConfigOf, Misconfigured } from './config.js';
import { createLog } from './log.js';
import type { Config } from './settings.js';
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
  if (broker) checkBroker(broker, config);
  return (await compose(config, log, broker ?? brokerOf(config, log))).tagwait;
}

const PROMISED = ['start', 'set', 'subscribe', 'unsubscribe', 'peek', 'nodes', 'status', 'close'] as const;

/** @throws {Misconfigured} the broker lacks a method, or the settings name another store */
function checkBroker(broker: Partial<Broker>, config: Config): void {
  const lacks: string[] = PROMISED.filter(method => typeof broker[method] !== 'function');
  if (!(Number(broker.lease) > 0)) lacks.push('lease, in ms above 0');
  else if (broker.lease !== Number.POSITIVE_INFINITY && !broker.verify)
    lacks.push('verify, for a finite lease');
  const faults = lacks.map(what => `broker: lacks ${what}; docs/brokers.md says what a broker needs`);
  if (storeOf(config) !== 'embedded')
    faults.push('broker: not allowed together with the address of a Redis; give one store');
  if (faults.length > 0) throw new Misconfigured(faults);
}
