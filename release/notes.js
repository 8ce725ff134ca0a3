/** `npm run notes [-- VERSION]`: prints the release notes of a version, which are its section of CHANGELOG.md. */
import { readFileSync } from 'node:fs';

const read = path => readFileSync(new URL(`../${path}`, import.meta.url), 'utf8');

/** @returns the text below the heading of the version; undefined if there is no such heading */
export function notesOf(version, changelog) {
  const section = changelog.split(/^## /m).find(part => part.split(/[\s(]/)[0] === version);
  return section?.slice(section.indexOf('\n') + 1).trim();
}

if (process.argv[1] === import.meta.filename) {
  const version = process.argv[2] ?? JSON.parse(read('package.json')).version;
  const notes = notesOf(version, read('CHANGELOG.md'));
  if (notes) console.log(notes);
  else {
    console.error(`CHANGELOG.md has no section "## ${version}"`);
    process.exitCode = 1;
  }
}
