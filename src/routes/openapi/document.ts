/** Both ports in OpenAPI 3.1. The tests hold real answers against it. */
import { CURSOR } from '../../protocol/cursor.js';
import { KEY } from '../../protocol/query.js';
import { internalPaths } from './internal.js';
import { pollSchemas } from './polls.js';
import { publicPaths } from './public.js';
import { count, is, object, ref, text } from './schemas.js';

const SCHEMAS = {
  Key: { type: 'string', pattern: KEY.source },
  Cursor: { type: 'string', pattern: CURSOR.source, description: 'opaque' },
  Value: { description: 'any JSON' },
  Peek: object({
    code: is(0),
    key: ref('Key'),
    entries: { type: 'array', items: object({ value: ref('Value'), cursor: ref('Cursor') }) },
    cursor: ref('Cursor'),
    final: { type: 'boolean' },
    ttl: { ...count, description: 'seconds left' },
    waiters: { type: 'object', additionalProperties: count, description: 'held now, by node' },
  }),
  Node: object({ id: text, held: count, version: text, uptime: { ...count, description: 'seconds' } }),
  ...pollSchemas,
};

/** @param hold longest hold, seconds @param guarded whether the internal port asks for a token */
export function openapi({ version, hold, guarded }: { version: string; hold: number; guarded: boolean }) {
  return {
    openapi: '3.1.0',
    info: {
      title: 'tagwait',
      version,
      license: { name: 'MIT', identifier: 'MIT' },
      description:
        'Long polling with script tags. Paths whose server is the public port are for pages, all others for backends and operators.',
    },
    servers: [{ url: '/', description: 'the internal port, TAGWAIT_INTERNAL_PORT' }],
    security: guarded ? [{ token: [] }] : [],
    paths: { ...publicPaths(version, hold), ...internalPaths },
    components: {
      ...(guarded ? { securitySchemes: { token: { type: 'http', scheme: 'bearer' } } } : {}),
      schemas: SCHEMAS,
    },
  };
}
