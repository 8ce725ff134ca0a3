/** What the package exports: tagwait as a part of another program. */
export { Conflict, type NodeInfo, type Peek, type Receipt, Unavailable } from './brokers/broker.js';
export { type Config, Misconfigured } from './config.js';
export { createTagwait, type Routes, type Service, startService, type Tagwait, version } from './service.js';
