/**
 * `npm publish` runs this first (`prepublishOnly`): it stops when the package lacks what a release must have.
 * docs/releasing.md explains each point.
 */
import { readFileSync } from 'node:fs';

const read = path => readFileSync(new URL(`../${path}`, import.meta.url), 'utf8');

/** @param manifest package.json, parsed @param changelog CHANGELOG.md @returns what is missing, one line each */
export function missing(manifest, changelog) {
  const faults = [];
  const address = given => (typeof given === 'string' ? given : given?.url) ?? '';
  for (const field of ['repository', 'homepage', 'bugs'])
    if (!/^(git\+)?https:\/\/[\w-]+(\.[\w-]+)+\/\S/.test(address(manifest[field])))
      faults.push(`package.json: ${field} must be an https address`);
  const author = typeof manifest.author === 'string' ? manifest.author : manifest.author?.name;
  if (!author?.trim()) faults.push('package.json: author must be a name');
  if (/\bexample\.(com|org|net)\b|placeholder|your-?name/i.test(JSON.stringify(manifest)))
    faults.push('package.json: an address or a name is a placeholder');
  if (!dated(manifest.version, changelog))
    faults.push(`CHANGELOG.md: the heading of this version must be "## ${manifest.version} (YYYY-MM-DD)"`);
  return faults;
}

const dated = (version, changelog) =>
  changelog.split('\n').some(line => line.startsWith(`## ${version} (`) && /\(\d{4}-\d\d-\d\d\)$/.test(line));

if (process.argv[1] === import.meta.filename) {
  const faults = missing(JSON.parse(read('package.json')), read('CHANGELOG.md'));
  if (faults.length > 0) {
    console.error(
      `Not ready for a release (docs/releasing.md):\n${faults.map(fault => `- ${fault}`).join('\n')}`,
    );
    process.exitCode = 1;
  }
}
