/**
 * The contract test of brokers, for any test runner. The package exports it as `tagwait/broker-contract`; tagwait runs
 * it against its own brokers.
 *
 *   import { brokerContract, HISTORY } from 'tagwait/broker-contract';
 *   for (const { name, run } of brokerContract(2)) test(name, () => run(node => new MyBroker(node, HISTORY)));
 */

import { delivering, sharing } from './delivery.js';
import { type CreateBroker, withNodes } from './nodes.js';
import { proving, provingElsewhere } from './receipts.js';
import { keeping } from './values.js';

export { type CreateBroker, HISTORY } from './nodes.js';

export interface Check {
  /** the guarantee, as a sentence */
  name: string;
  /** Resolves if the broker keeps the guarantee. Takes at most about 10 s. @throws {AssertionError} it does not */
  run(create: CreateBroker): Promise<void>;
}

/**
 * @param nodes 2 if several nodes can share the store, 1 if it works in one process only
 * @returns the checks, in no particular order
 */
export function brokerContract(nodes: 1 | 2): Check[] {
  const checks = { ...keeping, ...delivering, ...proving };
  if (nodes === 2) Object.assign(checks, sharing, provingElsewhere);
  return Object.entries(checks).map(([name, check]) => ({ name, run: create => withNodes(create, check) }));
}
