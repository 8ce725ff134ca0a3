/** The texts that are part of the package: the page's script, HTML pages, Lua scripts, and the version. */
import { readFileSync } from 'node:fs';

/**
 * A text by its path in the repository, as in `src/live/live.html`. In dist/ the build puts all of them into this
 * module in place of this function, so that a program that bundles tagwait needs no file beside it.
 */
export const asset = (path: string): string => readFileSync(new URL(`../${path}`, import.meta.url), 'utf8');

export const { version } = JSON.parse(asset('package.json')) as { version: string };
