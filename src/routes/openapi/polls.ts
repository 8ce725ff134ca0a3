/** The answers to a poll and to an event stream, in OpenAPI. */
import { ANSWERS, type Kind } from '../../protocol/answers.js';
import { count, is, json, object, plain, ref, type Schema, text } from './schemas.js';

/** What each kind of answer has beside its code and message: required, and optional. */
const MORE: Record<Kind, [Record<string, Schema>, Record<string, Schema>?]> = {
  success: [
    { data: ref('Value'), cursor: ref('Cursor') },
    {
      earlier: { type: 'array', items: ref('Value') },
      lost: { type: 'integer', minimum: 1 },
      final: is(true),
      receipt: is(true),
    },
  ],
  // of one key `cursor`, of several `cursors`
  timeout: [{}, { cursor: ref('Cursor'), cursors: { type: 'array', items: ref('Cursor') } }],
  expired: [{}],
  busy: [{ retry: count }],
  badRequest: [{ detail: text }],
  forbidden: [{}],
  moved: [{ retry: count }],
  unavailable: [{ retry: count }],
};
const KINDS = Object.keys(ANSWERS) as Kind[];
const nameOf = (kind: Kind) => `Poll${kind[0]?.toUpperCase()}${kind.slice(1)}`;

/** One schema for each kind: `PollSuccess`, `PollTimeout` … */
export const pollSchemas = Object.fromEntries(
  KINDS.map(kind => {
    const { code, message } = ANSWERS[kind];
    const [more, optional] = MORE[kind];
    return [
      nameOf(kind),
      object(
        { code: is(code), message: is(message), ...more },
        { ...optional, key: ref('Key'), left: { type: 'number', minimum: 0 } },
      ),
    ];
  }),
);

/** What a poll may be answered, by status. */
export function pollResponses() {
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
export function streamResponses() {
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

/** Refusals of a handshake are those of a poll in JSON. */
export function socketResponses() {
  const { 400: bad, 403: forbidden, 429: busy, 503: away } = pollResponses();
  return {
    101: { description: 'WebSocket: messages are the answers of a poll, with `key`' },
    400: bad,
    403: forbidden,
    426: plain('it is no WebSocket handshake', 'text/plain'),
    429: busy,
    503: away,
  };
}
