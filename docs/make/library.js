/** `npm run build && npm run docs:api`: writes docs/library.md from the types that the package exports. */
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const dist = fileURLToPath(new URL('../../dist/', import.meta.url));
const ENTRIES = [
  [
    'Server: `tagwait`',
    '',
    'index.d.ts',
    'The server, for your own program: [embedding.md](embedding.md) shows how to use it.',
  ],
  [
    'Page: `tagwait/client`',
    ' of the client',
    'client/index.d.ts',
    "The page's script, for bundlers: [client/README.md](../client/README.md) explains its options.",
  ],
  [
    'Broker kit: `tagwait/broker-kit`',
    '',
    'brokers/kit/kit.d.ts',
    'Parts of a broker of your own: [brokers.md](brokers.md) shows how to use them.',
  ],
];

/** @returns the page */
export function libraryReference() {
  const parts = ENTRIES.map(([heading, of, file, intro]) => {
    const declared = declarationsOf(file).map(
      ({ name: one, text }) => `### ${one}${of}\n\n\`\`\`ts\n${text}\n\`\`\``,
    );
    return `## ${heading}\n\n${intro}\n\n${declared.join('\n\n')}`;
  });
  return `# Library reference

Made from the types of the package. Do not edit this page: \`npm run build && npm run docs:api\` writes it.

${parts.join('\n\n')}
`;
}

/** @param entry a file of types @returns what it exports, in its order, from other files too */
function declarationsOf(entry) {
  const source = readFileSync(join(dist, entry), 'utf8');
  const named = [...source.matchAll(/^export (?:type )?\{ ([^}]+?),? \} from '(\.[^']+)\.js';$/gm)];
  if (named.length === 0)
    return [
      ...source.matchAll(
        /^export (?:declare )?(?:abstract )?(?:interface|type|class|function|const) (\w+)/gm,
      ),
    ].map(([, name]) => ({ name, text: declaration(source, name) }));
  return named.flatMap(([, names, file]) => {
    const from = readFileSync(join(dist, dirname(entry), `${file}.d.ts`), 'utf8');
    return names.split(', ').map(one => {
      const name = one.replace(/^type /, '');
      return { name, text: declaration(from, name) };
    });
  });
}

/** The declaration of a name, with its comment. It ends at the first line that closes what it opened. */
function declaration(source, name) {
  const lines = source.split('\n');
  const start = lines.findIndex(line =>
    new RegExp(`^export (declare )?(abstract )?(interface|type|class|function|const) ${name}\\b`).test(line),
  );
  if (start < 0) throw new Error(`no declaration of ${name}`);
  let end = start;
  while (!/^\}|;$/.test(lines[end]) || /\{$/.test(lines[end]) || /^\s/.test(lines[end])) end++;
  let from = start;
  if (/\*\/$/.test(lines[start - 1] ?? '')) while (!/^\/\*\*/.test(lines[from])) from--;
  return lines
    .slice(from, end + 1)
    .filter(line => line !== '    #private;')
    .join('\n')
    .replaceAll('export declare ', '')
    .replaceAll('export ', '');
}

if (process.argv[1] === import.meta.filename)
  writeFileSync(new URL('../library.md', import.meta.url), libraryReference());
