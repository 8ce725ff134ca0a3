/** `subscribe.js` for `require`, which can load ES modules since Node.js 20.19. */
import type * as esm from './subscribe.js' with { 'resolution-mode': 'import' };

const subscription: typeof esm = require('./subscribe.js');

namespace subscription {
  export type Ending = esm.Ending;
  export type SubscribeOptions = esm.SubscribeOptions;
  export type TagwaitError = esm.TagwaitError;
  export type TagwaitErrorCode = esm.TagwaitErrorCode;
  export type Update<Value = unknown> = esm.Update<Value>;
}

export = subscription;
