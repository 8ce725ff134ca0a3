/** The same for `require`, which can load ES modules from Node 20.19 on. */
import type * as esm from './contract.js' with { 'resolution-mode': 'import' };

const contract: typeof esm = require('./contract.js');

namespace contract {
  export type Check = esm.Check;
  export type CreateBroker = esm.CreateBroker;
}

export = contract;
