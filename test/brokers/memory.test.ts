import { describe, expect, onTestFinished, test } from 'vitest';
import { RECEIPTS } from '../../src/brokers/broker.js';
import { brokerContract, HISTORY } from '../../src/brokers/contract/contract.js';
import { MemoryBroker } from '../../src/brokers/memory.js';

describe('the embedded store keeps the promises of a broker', () => {
  test.each(brokerContract(1))('$name', ({ run }) => run(() => new MemoryBroker({ history: HISTORY })));
});

test('a key keeps the receipts of its newest sets, and forgets those before', async () => {
  const broker = new MemoryBroker({ history: HISTORY });
  onTestFinished(() => broker.close());
  const set = (id: string) => broker.set('k', '1', { ttl: 60_000, id });
  for (let number = 0; number < RECEIPTS + 1; number++) await set(`set-${number}`);
  expect((await set('set-1')).repeated).toBe(true);
  expect((await set('set-0')).repeated).toBe(undefined);
});
