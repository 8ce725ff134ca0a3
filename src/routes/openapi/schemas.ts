/** Words for the description of both ports: JSON Schema, and answers in OpenAPI. */

export type Schema = Record<string, unknown>;
export const object = (
  properties: Record<string, Schema>,
  optional: Record<string, Schema> = {},
): Schema => ({
  type: 'object',
  properties: { ...properties, ...optional },
  required: Object.keys(properties),
  additionalProperties: false,
});
export const is = (value: unknown): Schema => ({ const: value });
export const text: Schema = { type: 'string' };
export const count: Schema = { type: 'integer', minimum: 0 };
export const ref = (name: string): Schema => ({ $ref: `#/components/schemas/${name}` });
export const json = (description: string, schema: Schema) => ({
  description,
  content: { 'application/json': { schema } },
});
export const plain = (description: string, type: string) => ({
  description,
  content: { [type]: { schema: text } },
});
export const refusal = (status: number, message: string) =>
  json(message, object({ code: is(status), message: is(message) }, { detail: text, cursor: ref('Cursor') }));
export const REFUSALS = {
  400: refusal(400, 'bad request'),
  401: refusal(401, 'unauthorized'),
  403: refusal(403, 'forbidden'),
  413: refusal(413, 'too large'),
  415: refusal(415, 'unsupported media type'),
  503: refusal(503, 'unavailable'),
};
/** Where the store is not asked. */
export const { 503: _, ...mistakes } = REFUSALS;
export const body = (schema: Schema) => ({
  content: { 'application/json': { schema }, 'application/x-www-form-urlencoded': { schema } },
});
export const ttl: Schema = {
  type: ['number', 'null'],
  exclusiveMinimum: 0,
  maximum: 31_536_000,
  description: 'seconds',
};

export const receipt: Schema = {
  type: ['number', 'null'],
  minimum: 0,
  maximum: 10,
  description: 'seconds to wait until a page has proved that it has taken the value',
};

/** A parameter of a query. */
export const parameter = (name: string, description: string, schema: Schema, more: Schema = {}) => ({
  name,
  in: 'query',
  description,
  schema,
  ...more,
});
export const keyParameter = parameter('key', 'what is waited for', ref('Key'), { required: true });

/** No token is asked for. */
export const OPEN = { security: [] };

/** The limit of an address, on the public port. */
export const tooMany = {
  429: plain('TAGWAIT_MAX_POLLS_PER_IP is reached; `Retry-After` says when', 'text/plain'),
};
