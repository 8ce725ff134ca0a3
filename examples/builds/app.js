/** Six jobs of a build on one page: six keys, which share one poll. Plain node:http, with tagwait in the same process. */
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { createTagwait } from 'tagwait';

const { PORT = 3000, STEP_MS = 150 } = process.env;
const JOBS = ['install', 'lint', 'types', 'unit tests', 'browser tests', 'package'];
const read = name => readFileSync(new URL(name, import.meta.url));
const [page, look] = [read('page.html'), read('../look.css')];
const tagwait = await createTagwait({ logLevel: 'warn' });

createServer((request, response) => {
  const answer = (status, type, body) => response.writeHead(status, { 'Content-Type': type }).end(body);
  if (request.url === '/') answer(200, 'text/html', page);
  else if (request.url === '/look.css') answer(200, 'text/css', look);
  else if (request.url === '/builds' && request.method === 'POST') answer(201, 'application/json', build());
  else tagwait.publicListener(request, response); // the page's script, and what it asks
}).listen(PORT, () => console.log(`Open http://localhost:${PORT}`));

/** Starts a build. @returns the key and the name of each of its jobs, as JSON */
function build() {
  const id = randomUUID();
  const jobs = JOBS.map((name, index) => ({ key: `build-${id}-${index}`, name }));
  for (const { key } of jobs) run(key).catch(console.error);
  return JSON.stringify(jobs);
}

/** Plays a job. A page that comes late or was away gets the kept values, and the newest one is enough here. */
async function run(key) {
  let percent = 0;
  while (percent < 100) {
    await sleep(STEP_MS * (0.5 + Math.random()));
    percent = Math.min(100, percent + 1 + Math.floor(Math.random() * 9));
    await tagwait.set(key, { percent }, { final: percent === 100 });
  }
}
