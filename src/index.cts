/**
 * The same for `require`, which can load ES modules from Node 20.19 on: one copy of everything, however it is loaded.
 * Types are imported by a mode, so that every `moduleResolution` can read them.
 */
import type * as esm from './index.js' with { 'resolution-mode': 'import' };

const tagwait: typeof esm = require('./index.js');

namespace tagwait {
  export type Backlog = esm.Backlog;
  export type Broker = esm.Broker;
  export type Config = esm.Config;
  export type Conflict = esm.Conflict;
  export type Entry = esm.Entry;
  export type Events = esm.Events;
  export type Known = esm.Known;
  export type Listener = esm.Listener;
  export type LoginCalls = esm.LoginCalls;
  export type LoginError = esm.LoginError;
  export type Misconfigured = esm.Misconfigured;
  export type NodeInfo = esm.NodeInfo;
  export type Options = esm.Options;
  export type Peek = esm.Peek;
  export type Receipt = esm.Receipt;
  export type Routes = esm.Routes;
  export type Service = esm.Service;
  export type SetOptions = esm.SetOptions;
  export type StoreStatus = esm.StoreStatus;
  export type Tagwait = esm.Tagwait;
  export type Ticket = esm.Ticket;
  export type Unavailable = esm.Unavailable;
  export type WrongStore = esm.WrongStore;
}

export = tagwait;
