/**
 * The yardstick for crowd.js: workers of node:cluster that hold requests with node:http, and nothing else.
 *
 *   bare-workers.js WORKERS primary    the primary accepts, as is Node's default
 *   bare-workers.js WORKERS shared     the workers accept from one listening socket
 */
import cluster from 'node:cluster';
import { once } from 'node:events';
import { createServer } from 'node:http';

const [, , workers, policy] = process.argv;

async function lead() {
  cluster.schedulingPolicy = policy === 'shared' ? cluster.SCHED_NONE : cluster.SCHED_RR;
  const nodes = new Map();
  const all = Array.from({ length: Number(workers) }, () => cluster.fork());
  for (const worker of all)
    worker.on('message', held => nodes.set(worker.id, { held, pid: worker.process.pid }));
  const addresses = await Promise.all(all.map(async worker => (await once(worker, 'listening'))[0]));
  const internal = createServer((_request, response) =>
    response.end(JSON.stringify({ nodes: [...nodes.values()] })),
  ).listen(0, '127.0.0.1');
  await once(internal, 'listening');
  console.log(
    `bare public http://127.0.0.1:${addresses[0].port} internal http://127.0.0.1:${internal.address().port} `,
  );
}

function work() {
  process.on('error', () => process.exit());
  const held = new Set();
  createServer((_request, response) => {
    held.add(response);
    response.on('close', () => held.delete(response));
  }).listen({ port: 0, host: '127.0.0.1', backlog: 4096 });
  // the primary may be gone
  setInterval(() => process.send(held.size, () => {}), 100);
}

if (cluster.isPrimary) await lead();
else work();
