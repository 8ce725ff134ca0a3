/**
 * What a broker must promise, as checks that any test runner can run. The package exports them as
 * `tagwait/broker-contract`; tagwait runs the same ones against its own brokers.
 *
 *   import { brokerContract, HISTORY } from 'tagwait/broker-contract';
 *   for (const { name, run } of brokerContract(2)) test(name, () => run(node => new MyBroker(node, HISTORY)));
 */

import { delivering, sharing } from './delivery.js';
import { type CreateBroker, withNodes } from './nodes.js';
import { keeping } from './values.js';

export { type CreateBroker, HISTORY } from './nodes.js';

export interface Check {
  /** the promise, as a sentence */
  name: string;
  /**
   * Resolves when the promise is kept, within some ten seconds.
   * @throws {AssertionError} it is not
   */
  run(create: CreateBroker): Promise<void>;
}

/**
 * @param nodes 2 when several nodes may share the store, 1 when it lives in one process
 * @returns the checks, which may run in any order
 */
export function brokerContract(nodes: 1 | 2): Check[] {
  const checks = { ...keeping, ...delivering, ...(nodes === 2 && sharing) };
  return Object.entries(checks).map(([name, check]) => ({ name, run: create => withNodes(create, check) }));
}
