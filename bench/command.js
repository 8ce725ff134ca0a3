/** Arguments for Node that run the built command. It sets the flags of V8 by itself. */
import { fileURLToPath } from 'node:url';

export const TAGWAIT = [fileURLToPath(new URL('../dist/cli.js', import.meta.url))];
