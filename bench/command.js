/** Arguments for Node.js that run the built command, which sets V8 flags by itself. */
import { fileURLToPath } from 'node:url';

export const TAGWAIT = [fileURLToPath(new URL('../dist/cli.js', import.meta.url))];
