/**
 * What a broker of your own is made of. The package exports it as `tagwait/broker-kit`; docs/brokers.md says how to use it.
 * Each part works without the others.
 */
export { decode, encode, type Message, type Reply } from '../messages.js';
export { type NodeChannel, nodesIn, Survey, waitersIn } from '../survey.js';
export { InOrder } from './in-order.js';
export { outdated } from './outdated.js';
export { KeyState } from './state.js';
export { StoreBroker, type StoreOptions } from './store-broker.js';
