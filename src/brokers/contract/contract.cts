/** `contract.js` for `require`, which can load ES modules since Node.js 20.19. */
import type * as esm from './contract.js' with { 'resolution-mode': 'import' };

const contract: typeof esm = require('./contract.js');

namespace contract {
  export type Check = esm.Check;
  export type CreateBroker = esm.CreateBroker;
}

export = contract;
