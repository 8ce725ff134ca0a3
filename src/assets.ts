/** Texts that are part of the package: scripts for pages, HTML, Lua, and the version. */
import { readFileSync } from 'node:fs';

/**
 * A text by its path in the repository, such as `src/live/live.html`. In dist/ the build replaces this module by one
 * with all texts, so that a program that bundles tagwait needs no other file.
 */
export const asset = (path: string): string => readFileSync(new URL(`../${path}`, import.meta.url), 'utf8');

export const { version } = JSON.parse(asset('package.json')) as { version: string };
