/** The exports of the package: tagwait as a library. */
export { version } from './assets.js';
export {
  type Backlog,
  type Broker,
  Conflict,
  type Entry,
  type Events,
  type Known,
  type NodeInfo,
  type Peek,
  type Receipt,
  type SetOptions,
  type StoreStatus,
  Unavailable,
  WrongStore,
} from './brokers/broker.js';
export { Misconfigured } from './config.js';
export { createTagwait } from './library.js';
export type { LoginCalls } from './login/calls.js';
export { LoginError } from './login/steps.js';
export type { Ticket } from './protocol/ticket.js';
export { type Service, startService } from './service.js';
export type { Config } from './settings.js';
export type { Listener, Options, Routes, Tagwait } from './tagwait.js';
