/** The paths of the internal port, for backends and operators, in OpenAPI. */
import { loginPaths } from './login.js';
import {
  body,
  count,
  is,
  json,
  keyParameter,
  mistakes,
  OPEN,
  object,
  plain,
  REFUSALS,
  receipt,
  ref,
  refusal,
  text,
  tooMany,
  ttl,
} from './schemas.js';

const { 400: bad, 401: unauthorized, 403: forbidden, 503: unavailable } = REFUSALS;
const key = ref('Key');
const success = { code: is(0), message: is('success') };
const well = json('yes', object(success));

const set = {
  summary: 'Store a value and hand it to every page that waits',
  requestBody: {
    ...body(
      object(
        { key, value: ref('Value') },
        {
          ttl,
          final: { type: ['boolean', 'null'], description: 'the key ends here' },
          expect: { ...ref('Cursor'), description: 'the newest cursor must be this; "" for none' },
          id: {
            type: ['string', 'null'],
            pattern: '^[\\x21-\\x7e]{1,64}$',
            description: 'makes a retry safe',
          },
          receipt,
        },
      ),
    ),
    required: true,
  },
  responses: {
    200: json(
      'stored, and on its way',
      object(
        { ...success, cursor: ref('Cursor'), watched: { type: 'boolean' } },
        { repeated: is(true), received: { type: 'boolean' } },
      ),
    ),
    409: refusal(409, 'conflict'),
    ...REFUSALS,
  },
};

const newTicket = {
  summary: 'Make a ticket',
  requestBody: body(object({}, { ttl })),
  responses: {
    200: json('a ticket', object({ code: is(0), key, proof: text, expires: count })),
    ...mistakes,
  },
};

const peek = {
  summary: 'The entries of a key and the requests held for it',
  parameters: [keyParameter],
  responses: {
    200: json('the key', ref('Peek')),
    400: bad,
    401: unauthorized,
    403: forbidden,
    503: unavailable,
  },
};

const nodes = {
  summary: 'All nodes',
  responses: {
    200: json('this node first', object({ code: is(0), nodes: { type: 'array', items: ref('Node') } })),
    401: unauthorized,
    403: forbidden,
    503: unavailable,
  },
};

/** What monitoring reads, without a token. */
const MONITORING = {
  '/metrics': {
    get: {
      ...OPEN,
      summary: 'For Prometheus',
      responses: { 200: plain('its text format', 'text/plain'), 403: forbidden },
    },
  },
  '/healthz': {
    get: {
      ...OPEN,
      summary:
        'Whether the process lives; on both ports: 429 on the public one alone, 403 on the internal one',
      responses: { 200: well, 403: forbidden, ...tooMany },
    },
  },
  '/readyz': {
    get: {
      ...OPEN,
      summary: 'Whether it takes pages',
      responses: { 200: well, 403: forbidden, 503: unavailable },
    },
  },
  '/': {
    get: {
      ...OPEN,
      summary: 'The live page',
      responses: { 200: plain('a page', 'text/html'), 403: forbidden },
    },
  },
};

export const internalPaths = {
  '/status/set': { post: set },
  '/status/new': { post: newTicket },
  ...loginPaths,
  '/status/peek': { get: peek },
  '/nodes': { get: nodes },
  ...MONITORING,
  '/live': {
    get: {
      summary: "What the live page shows: this node's last minutes, and the key under which it goes on",
      responses: {
        200: json('for the page alone: it may change', { type: 'object' }),
        401: unauthorized,
        403: forbidden,
      },
    },
  },
  '/openapi.json': {
    get: {
      summary: 'This',
      responses: { 200: json('OpenAPI 3.1', { type: 'object' }), 401: unauthorized, 403: forbidden },
    },
  },
};
