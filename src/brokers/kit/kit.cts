/** `kit.js` for `require`, which can load ES modules since Node.js 20.19. */
import type * as esm from './kit.js' with { 'resolution-mode': 'import' };

const kit: typeof esm = require('./kit.js');

namespace kit {
  export type InOrder = esm.InOrder;
  export type KeyState = esm.KeyState;
  export type Message = esm.Message;
  export type NodeChannel = esm.NodeChannel;
  export type Reply = esm.Reply;
  export type StoreBroker = esm.StoreBroker;
  export type StoreOptions = esm.StoreOptions;
  export type Survey = esm.Survey;
}

export = kit;
