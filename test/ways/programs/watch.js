// Prints each value of a key as a line of JSON, by `tagwait/subscribe` as it is built: watch.js URL KEY. For Node, Deno and Bun.
import { subscribe } from '../../../dist/subscribe/subscribe.js';

const [url, key] = globalThis.Deno ? Deno.args : process.argv.slice(2);
for await (const { value } of subscribe(key, { url })) console.log(JSON.stringify(value));
