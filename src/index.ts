/** The exports of the package: tagwait as a library. */
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
export type { LoginCalls } from './login/calls.js';
export { LoginError } from './login/steps.js';
export type { Ticket } from './protocol/ticket.js';
export {
  createTagwait,
  type Options,
  type Routes,
  type Service,
  startService,
  type Tagwait,
  version,
} from './service.js';
export type { Config } from './settings.js';
