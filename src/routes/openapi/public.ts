/** The paths of the public port, in OpenAPI. */
import { MAX_KEYS } from '../../protocol/query.js';
import { pollResponses, socketResponses, streamResponses } from './polls.js';
import { is, keyParameter, OPEN, parameter, plain, ref, type Schema, text, tooMany } from './schemas.js';

const PUBLIC = { servers: [{ url: '/', description: 'the public port, TAGWAIT_PUBLIC_PORT' }] };
const pollName: Schema = { type: 'string', pattern: '^[A-Za-z0-9_-]{1,32}$' };
const since = parameter('since', 'the cursor of the last answer', ref('Cursor'));
const proof = parameter('proof', "the ticket's", text);
/** Of a poll: one, or one for each key. */
const each = (one: Schema, more: Schema = {}): Schema => ({
  anyOf: [one, { type: 'array', items: one, minItems: 2, maxItems: MAX_KEYS, ...more }],
});

/** @param hold longest hold, seconds */
const pollParameters = (hold: number) => [
  { ...keyParameter, schema: each(ref('Key'), { uniqueItems: true }) },
  { ...since, schema: each(ref('Cursor')) },
  parameter('hold', 'seconds to hold; 0 answers at once', { type: 'number', minimum: 0, maximum: hold }),
  parameter(
    'callback',
    'a function that the script calls: one part, no global of browsers; or the name of a known JSONP client',
    text,
  ),
  parameter(
    'var',
    'a variable that the script assigns, instead of callback: one part, no global of browsers',
    text,
  ),
  { ...proof, schema: each(text) },
  parameter('poll', 'a name for this poll, so that it can be dropped', pollName),
  parameter(
    'drop',
    'the name of a poll of the same key and address: it is answered -1 at once, and so is this request',
    pollName,
  ),
];

/** `/name.js` and `/name/<version>.js`. */
function scriptPaths(name: string, summary: string, version: string) {
  const responses = {
    200: plain('the script', 'text/javascript'),
    304: { description: 'unchanged' },
    ...tooMany,
  };
  const parameters = [{ name: 'version', in: 'path', required: true, schema: is(version) }];
  return {
    [`/${name}.js`]: { ...PUBLIC, get: { ...OPEN, summary, responses } },
    [`/${name}/{version}.js`]: {
      ...PUBLIC,
      get: { ...OPEN, summary: 'The same, to be kept for ever', parameters, responses },
    },
  };
}

/** @param hold longest hold, seconds */
export const publicPaths = (version: string, hold: number) => ({
  '/status/get': {
    ...PUBLIC,
    get: {
      ...OPEN,
      summary: 'Ask for a key; the answer waits until there is something new',
      description: 'With callback or var the answer is a script, and its status is always 200.',
      parameters: pollParameters(hold),
      responses: pollResponses(),
    },
  },
  '/status/events': {
    ...PUBLIC,
    get: {
      ...OPEN,
      summary: 'The values of a key as Server-Sent Events',
      parameters: [keyParameter, since, proof],
      responses: streamResponses(),
    },
  },
  '/status/socket': {
    ...PUBLIC,
    get: {
      ...OPEN,
      summary: 'The values of up to 100 keys over one WebSocket, subprotocol tagwait.1',
      description:
        'The client sends {"watch":"KEY","since":"","proof":""} and {"stop":"KEY"}. The server sends what a poll is answered, with "key", and never -1.',
      responses: socketResponses(),
    },
  },
  ...scriptPaths('client', "The page's script", version),
  ...scriptPaths('client/many', "The page's script for several keys on one poll", version),
  ...scriptPaths('login', 'The login box, a script for login pages', version),
  ...scriptPaths('login/phone', "The phone's side of the login box", version),
});
