/** `npm run build && npm run docs:api`: writes docs/http-api.md from the OpenAPI document that the service serves. */
import { writeFileSync } from 'node:fs';

const PARTS = [
  ['Public port', 'For pages: port 11000 by default.', path => path.servers !== undefined],
  [
    'Internal port',
    'For backends and operators: port 11001 on loopback by default. With `TAGWAIT_SET_TOKENS`, send `Authorization: Bearer TOKEN`, except where it says that no token is needed.',
    path => path.servers === undefined,
  ],
];

/** @param document OpenAPI 3.1 @returns the page */
export function httpApi(document) {
  const schemas = document.components.schemas;
  const paths = Object.entries(document.paths);
  const parts = PARTS.map(([heading, intro, belongs]) => {
    const operations = paths
      .filter(([, path]) => belongs(path))
      .flatMap(([url, path]) => operationsOf(url, path));
    return `## ${heading}\n\n${intro}\n\n${operations.map(one => operation(one, schemas)).join('\n\n')}`;
  });
  const named = Object.entries(schemas).map(([name, schema]) => `### ${name}\n\n${shape(schema)}`);
  return `# HTTP API

Made from the OpenAPI document, which a running service gives at \`GET /openapi.json\` on the internal port. Do not edit this page:
\`npm run build && npm run docs:api\` writes it. [protocol.md](protocol.md) explains polls and streams, [backend.md](backend.md) the
calls of a backend.

${parts.join('\n\n')}

## Schemas

${named.join('\n\n')}
`;
}

const METHODS = ['get', 'post'];
const operationsOf = (url, path) =>
  METHODS.filter(method => path[method]).map(method => ({ url, method, ...path[method] }));

function operation(
  { url, method, summary, description, parameters = [], requestBody, responses, security },
  schemas,
) {
  const lines = [`### ${method.toUpperCase()} ${url}`, '', `${summary}.`];
  if (description) lines.push('', description);
  if (security?.length === 0) lines.push('', 'No token is needed.');
  if (parameters.length > 0)
    lines.push(
      '',
      '| parameter | | |',
      '| --- | --- | --- |',
      ...parameters.map(({ name, schema, description: what, required }) => row(name, schema, what, required)),
    );
  const [type, content] = Object.entries(requestBody?.content ?? {})[0] ?? [];
  if (type) {
    const also = Object.keys(requestBody.content).slice(1);
    lines.push(
      '',
      `Body: ${[type, ...also].map(one => `\`${one}\``).join(' or ')}.`,
      '',
      fields(resolve(content.schema, schemas)),
    );
  }
  lines.push(
    '',
    '| status | meaning | answer |',
    '| --- | --- | --- |',
    ...Object.entries(responses).map(
      ([status, response]) => `| ${status} | ${cell(response.description)} | ${answer(response)} |`,
    ),
  );
  return lines.join('\n');
}

const cell = text => (text ?? '').replaceAll('|', '\\|').replaceAll('\n', ' ');
const row = (name, schema, description, required) =>
  `| \`${name}\`${required ? ', required' : ''} | ${cell(typeOf(schema))} | ${cell(description ?? schema.description)} |`;

function fields(schema) {
  const required = new Set(schema.required);
  const rows = Object.entries(schema.properties ?? {}).map(([name, field]) =>
    row(name, field, field.description, required.has(name)),
  );
  return ['| field | | |', '| --- | --- | --- |', ...rows].join('\n');
}

const resolve = (schema, schemas) => (schema.$ref ? schemas[nameOf(schema)] : schema);
const nameOf = ({ $ref }) => $ref.split('/').at(-1);
const link = schema => `[${nameOf(schema)}](#${nameOf(schema).toLowerCase()})`;

function answer({ content = {} }) {
  return Object.entries(content)
    .map(([type, { schema }]) => (type === 'application/json' ? contentOf(schema) : `\`${type}\``))
    .join('; ');
}
function contentOf(schema) {
  if (schema.$ref) return link(schema);
  if (schema.oneOf) return schema.oneOf.map(contentOf).join(' or ');
  const names = Object.keys(schema.properties ?? {});
  return names.length === 0 ? 'JSON' : names.map(name => `\`${name}\``).join(', ');
}

/** @returns a type in words: `integer, 0 or more` */
function typeOf(schema) {
  if (schema.$ref) return link(schema);
  if ('const' in schema) return `\`${JSON.stringify(schema.const)}\``;
  if (schema.type === 'array') return `array of ${typeOf(schema.items)}`;
  const types = [schema.type ?? 'any JSON'].flat();
  return [types.join(' or '), ...boundsOf(schema)].join(', ');
}
function boundsOf(schema) {
  const bounds = [];
  if (schema.exclusiveMinimum !== undefined) bounds.push(`above ${schema.exclusiveMinimum}`);
  if (schema.minimum !== undefined) bounds.push(`${schema.minimum} or more`);
  if (schema.maximum !== undefined) bounds.push(`at most ${schema.maximum}`);
  if (schema.minLength !== undefined) bounds.push(`${schema.minLength} to ${schema.maxLength} characters`);
  if (schema.pattern) bounds.push(`\`${schema.pattern}\``);
  return bounds;
}

function shape(schema) {
  const about = schema.description ? `${schema.description}\n\n` : '';
  return schema.properties ? `${about}${fields(schema)}` : `${about}${typeOf(schema)}`;
}

if (process.argv[1] === import.meta.filename) {
  const { openapi } = await import('../../dist/routes/openapi/document.js');
  const { version } = await import('../../dist/assets.js');
  writeFileSync(
    new URL('../http-api.md', import.meta.url),
    httpApi(openapi({ version, hold: 25, guarded: true })),
  );
}
