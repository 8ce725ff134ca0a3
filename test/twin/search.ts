/** Runs schedules from seeds. Shortens a failing one, and prints it as readable text. */
import { draw, type Op, type Schedule } from './schedule.js';
import { type Failure, World } from './world.js';

/** How many shorter schedules are tried. */
const TRIES = 150;

export async function run(schedule: Schedule): Promise<Failure | undefined> {
  const world = new World(schedule);
  const failure = await world.run();
  receipts.received += world.received;
  return failure;
}

/** Sets of all runs so far that were answered that their value is received. */
export const receipts = { received: 0 };

/** @returns the first failure, with the shortest schedule found that fails in the same way; undefined: none */
export async function search(first: number, runs: number): Promise<string | undefined> {
  for (let seed = first; seed < first + runs; seed++) {
    const failure = await run(draw(seed));
    if (failure) return tell(await shorten(draw(seed), failure));
  }
  return undefined;
}

async function shorten(schedule: Schedule, failure: Failure): Promise<[Schedule, Failure]> {
  let best: [Schedule, Failure] = [schedule, failure];
  let tries = 0;
  for (let length = Math.ceil(schedule.ops.length / 2); length >= 1; length = Math.floor(length / 2))
    for (let from = 0; from < best[0].ops.length && tries < TRIES; ) {
      tries++;
      const ops = best[0].ops.filter((_, index) => index < from || index >= from + length);
      const shorter = { ...schedule, ops };
      const again = await run(shorter);
      if (again?.check === failure.check) best = [shorter, again];
      else from += length;
    }
  return best;
}

function tell([schedule, { check, text }]: [Schedule, Failure]): string {
  const { seed, nodes, servers, way, history, pages, ops } = schedule;
  const said = ({ at, kind, ...more }: Op) => `  ${at} ms ${kind} ${JSON.stringify(more)}`;
  return [
    `TWIN_SEED=${seed} fails (${check}): ${text}`,
    `  nodes ${nodes}, servers ${servers}, way ${way} ms, history ${history}`,
    ...pages.map((page, number) => `  page ${number}: ${JSON.stringify(page)}`),
    ...ops.map(said),
  ].join('\n');
}
