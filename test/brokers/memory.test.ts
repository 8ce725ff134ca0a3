import { describe, test } from 'vitest';
import { brokerContract, HISTORY } from '../../src/brokers/contract/contract.js';
import { MemoryBroker } from '../../src/brokers/memory.js';

describe('the embedded store keeps the promises of a broker', () => {
  test.each(brokerContract(1))('$name', ({ run }) => run(() => new MemoryBroker({ history: HISTORY })));
});
