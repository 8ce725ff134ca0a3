/** Both ports in OpenAPI 3.1. The tests hold real answers against it. */

import { CURSOR } from '../brokers/broker.js';
import { ANSWERS, type Kind } from '../protocol/answers.js';
import { KEY } from '../protocol/query.js';
import { loginPaths } from './openapi-login.js';
import {
  body,
  count,
  is,
  json,
  mistakes,
  object,
  plain,
  REFUSALS,
  ref,
  refusal,
  type Schema,
  text,
  ttl,
} from './schemas.js';

const parameter = (name: string, description: string, schema: Schema, more: Schema = {}) => ({
  name,
  in: 'query',
  description,
  schema,
  ...more,
});

/** What each kind of answer says beyond its code and message. */
const MORE: Record<Kind, [Record<string, Schema>, Record<string, Schema>?]> = {
  success: [
    { data: ref('Value'), cursor: ref('Cursor') },
    {
      earlier: { type: 'array', items: ref('Value') },
      lost: { type: 'integer', minimum: 1 },
      final: is(true),
    },
  ],
  timeout: [{ cursor: ref('Cursor') }],
  expired: [{}],
  busy: [{ retry: count }],
  badRequest: [{ detail: text }],
  forbidden: [{}],
  moved: [{ retry: count }],
  unavailable: [{ retry: count }],
};
const pollName: Schema = { type: 'string', pattern: '^[A-Za-z0-9_-]{1,32}$' };
const KINDS = Object.keys(ANSWERS) as Kind[];
const nameOf = (kind: Kind) => `Poll${kind[0]?.toUpperCase()}${kind.slice(1)}`;
const pollSchemas = Object.fromEntries(
  KINDS.map(kind => {
    const { code, message } = ANSWERS[kind];
    const [more, optional] = MORE[kind];
    return [
      nameOf(kind),
      object(
        { code: is(code), message: is(message), ...more },
        { ...optional, left: { type: 'number', minimum: 0 } },
      ),
    ];
  }),
);

/** What a poll may be answered, by status. */
function pollResponses() {
  const responses: Record<string, unknown> = {};
  for (const status of new Set(KINDS.map(kind => ANSWERS[kind].status))) {
    const kinds = KINDS.filter(kind => ANSWERS[kind].status === status);
    responses[status] = json(kinds.map(kind => ANSWERS[kind].message).join(', '), {
      oneOf: kinds.map(kind => ref(nameOf(kind))),
    });
  }
  const scripted = { 'text/javascript': { schema: text } };
  const named = { 'text/plain': { schema: text } };
  const both = (status: number, more: object) => {
    const given = responses[status] as { content: object };
    given.content = { ...given.content, ...more };
  };
  both(200, scripted);
  both(400, named);
  both(429, named);
  return responses;
}

/** Refusals are those of a poll in JSON. */
function streamResponses() {
  const { 400: bad, 403: forbidden, 429: busy, 503: away } = pollResponses();
  return {
    200: plain('events `value`, `lost` and `end`, with cursors as ids', 'text/event-stream'),
    204: { description: 'the key or its ticket has ended' },
    400: bad,
    403: forbidden,
    429: busy,
    503: away,
  };
}

const { 400: bad, 401: unauthorized, 403: forbidden, 503: unavailable } = REFUSALS;
const well = json('yes', object({ code: is(0), message: is('success') }));
const key = ref('Key');
const OPEN = { security: [] };

/** @param hold seconds @param guarded whether the internal port asks for a token */
export function openapi({ version, hold, guarded }: { version: string; hold: number; guarded: boolean }) {
  const pages = { servers: [{ url: '/', description: 'the public port, TAGWAIT_PUBLIC_PORT' }] };
  const tooMany = {
    429: plain('TAGWAIT_MAX_POLLS_PER_IP is reached; `Retry-After` says when', 'text/plain'),
  };
  const script = {
    200: plain('the script', 'text/javascript'),
    304: { description: 'unchanged' },
    ...tooMany,
  };
  const scriptPaths = (name: string, summary: string) => ({
    [`/${name}.js`]: { ...pages, get: { ...OPEN, summary, responses: script } },
    [`/${name}/{version}.js`]: {
      ...pages,
      get: {
        ...OPEN,
        summary: 'The same, to be kept for ever',
        parameters: [{ name: 'version', in: 'path', required: true, schema: is(version) }],
        responses: script,
      },
    },
  });
  return {
    openapi: '3.1.0',
    info: {
      title: 'tagwait',
      version,
      license: { name: 'MIT', identifier: 'MIT' },
      description:
        'Long poll by script tags. Paths whose server is the public port are for pages, all others for backends and operators.',
    },
    servers: [{ url: '/', description: 'the internal port, TAGWAIT_INTERNAL_PORT' }],
    security: guarded ? [{ token: [] }] : [],
    paths: {
      '/status/get': {
        ...pages,
        get: {
          ...OPEN,
          summary: 'Ask for a key; the answer waits until there is something new',
          description: 'With callback or var the answer is a script, and its status is always 200.',
          parameters: [
            parameter('key', 'what is waited for', key, { required: true }),
            parameter('since', 'the cursor of the last answer', ref('Cursor')),
            parameter('hold', 'seconds to hold; 0 answers at once', {
              type: 'number',
              minimum: 0,
              maximum: hold,
            }),
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
            parameter('proof', "the ticket's", text),
            parameter('poll', 'a name for this poll, so that it can be dropped', pollName),
            parameter(
              'drop',
              'the name of a poll of the same key and address: it is answered -1 at once, and so is this request',
              pollName,
            ),
          ],
          responses: pollResponses(),
        },
      },
      '/status/events': {
        ...pages,
        get: {
          ...OPEN,
          summary: 'The values of a key as Server-Sent Events',
          parameters: [
            parameter('key', 'what is waited for', key, { required: true }),
            parameter('since', 'the cursor of the last answer', ref('Cursor')),
            parameter('proof', "the ticket's", text),
          ],
          responses: streamResponses(),
        },
      },
      ...scriptPaths('client', "The page's script"),
      ...scriptPaths('login', 'The login box, a script for login pages'),
      ...scriptPaths('login/phone', "The phone's side of the login box"),
      '/status/set': {
        post: {
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
                },
              ),
            ),
            required: true,
          },
          responses: {
            200: json(
              'stored, and on its way',
              object(
                {
                  code: is(0),
                  message: is('success'),
                  cursor: ref('Cursor'),
                  watched: { type: 'boolean' },
                },
                { repeated: is(true) },
              ),
            ),
            409: refusal(409, 'conflict'),
            ...REFUSALS,
          },
        },
      },
      '/status/new': {
        post: {
          summary: 'Make a ticket',
          requestBody: body(object({}, { ttl })),
          responses: {
            200: json('a ticket', object({ code: is(0), key, proof: text, expires: count })),
            ...mistakes,
          },
        },
      },
      ...loginPaths,
      '/status/peek': {
        get: {
          summary: 'What is kept under a key, and who waits for it',
          parameters: [parameter('key', 'what is waited for', key, { required: true })],
          responses: {
            200: json('the key', ref('Peek')),
            400: bad,
            401: unauthorized,
            403: forbidden,
            503: unavailable,
          },
        },
      },
      '/nodes': {
        get: {
          summary: 'All nodes',
          responses: {
            200: json(
              'this node first',
              object({ code: is(0), nodes: { type: 'array', items: ref('Node') } }),
            ),
            401: unauthorized,
            403: forbidden,
            503: unavailable,
          },
        },
      },
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
    },
    components: {
      ...(guarded ? { securitySchemes: { token: { type: 'http', scheme: 'bearer' } } } : {}),
      schemas: {
        Key: { type: 'string', pattern: KEY.source },
        Cursor: { type: 'string', pattern: CURSOR.source, description: 'opaque' },
        Value: { description: 'any JSON' },
        Peek: object({
          code: is(0),
          key,
          entries: { type: 'array', items: object({ value: ref('Value'), cursor: ref('Cursor') }) },
          cursor: ref('Cursor'),
          final: { type: 'boolean' },
          ttl: { ...count, description: 'seconds left' },
          waiters: { type: 'object', additionalProperties: count, description: 'held now, by node' },
        }),
        Node: object({ id: text, held: count, version: text, uptime: { ...count, description: 'seconds' } }),
        ...pollSchemas,
      },
    },
  };
}
