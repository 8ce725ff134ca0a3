/** How the command runs when it is installed: what its first line has the shell give to Node, and its path. */
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const cli = fileURLToPath(new URL('../dist/cli.js', import.meta.url));
const [first = ''] = existsSync(cli) ? readFileSync(cli, 'utf8').split('\n', 1) : [];

/** Arguments for Node. */
export const TAGWAIT = [...first.split(' ').filter(word => word.startsWith('--')), cli];
