/**
 * `npm publish` of tagwait and of @tagwait/client runs this first (`prepublishOnly`): it stops when one of the two lacks
 * what a release must have. docs/releasing.md explains each point.
 */
import { readFileSync } from 'node:fs';

const read = path => readFileSync(new URL(`../${path}`, import.meta.url), 'utf8');
/** The manifests of both packages: they are released together. */
const MANIFESTS = ['package.json', 'client/package/package.json'];

/**
 * @param manifest a package.json, parsed @param changelog CHANGELOG.md @param path of the manifest
 * @returns what is missing, one line each
 */
export function missing(manifest, changelog, path = 'package.json') {
  const faults = [];
  const address = given => (typeof given === 'string' ? given : given?.url) ?? '';
  for (const field of ['repository', 'homepage', 'bugs'])
    if (!/^(git\+)?https:\/\/[\w-]+(\.[\w-]+)+\/\S/.test(address(manifest[field])))
      faults.push(`${path}: ${field} must be an https address`);
  const author = typeof manifest.author === 'string' ? manifest.author : manifest.author?.name;
  if (!author?.trim()) faults.push(`${path}: author must be a name`);
  if (/\bexample\.(com|org|net)\b|placeholder|your-?name/i.test(JSON.stringify(manifest)))
    faults.push(`${path}: an address or a name is a placeholder`);
  if (!dated(manifest.version, changelog))
    faults.push(
      `${path}: CHANGELOG.md must have the heading "## ${manifest.version} (YYYY-MM-DD)" for its version`,
    );
  return faults;
}

const dated = (version, changelog) =>
  changelog.split('\n').some(line => line.startsWith(`## ${version} (`) && /\(\d{4}-\d\d-\d\d\)$/.test(line));

if (process.argv[1] === import.meta.filename) {
  const changelog = read('CHANGELOG.md');
  const manifests = MANIFESTS.map(path => JSON.parse(read(path)));
  const faults = manifests.flatMap((manifest, index) => missing(manifest, changelog, MANIFESTS[index]));
  if (new Set(manifests.map(({ version }) => version)).size > 1)
    faults.push(`${MANIFESTS.join(' and ')}: the versions must be the same`);
  if (faults.length > 0) {
    console.error(
      `Not ready for a release (docs/releasing.md):\n${faults.map(fault => `- ${fault}`).join('\n')}`,
    );
    process.exitCode = 1;
  }
}
