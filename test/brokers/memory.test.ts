import { MemoryBroker } from '../../src/brokers/memory.js';
import { brokerContract } from './contract.js';

brokerContract('the embedded store', { create: history => new MemoryBroker({ history }), nodes: 1 });
