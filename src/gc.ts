/** Garbage: what is collected while pages are served, and what a crowd leaves behind. */
import { getHeapSpaceStatistics, setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/** Bytes of V8's young generation: two halves of 2 MiB, as `--max-semi-space-size=2` allows. */
const YOUNG = 2 * 2 * 1024 * 1024;

/**
 * Does what the flags of cli.ts do, in a V8 that runs already: lets the young generation grow to its size and no further,
 * and has no thread collect garbage. Must be called before there is any. `--no-parallel-marking` is not among the flags:
 * changed at run time, it makes V8 end the process at a failed check (seen with Node 20, 22 and 24).
 */
export function setFlagsLate(): void {
  for (const work of [
    'concurrent-marking',
    'concurrent-sweeping',
    'parallel-scavenge',
    'parallel-compaction',
  ])
    setFlagsFromString(`--no-${work}`);
  const size = () => getHeapSpaceStatistics().find(space => space.space_name === 'new_space')?.space_size;
  // it grows when it is collected and much is still in use: some 20 times 1000 objects
  const kept: object[] = [];
  for (let round = 0; round < 100 && (size() ?? YOUNG) < YOUNG; round++)
    for (let count = 0; count < 1000; count++) kept.push({ round, count });
  setFlagsFromString('--semi-space-growth-factor=1');
}

/**
 * Has V8 mark what lives in steps, as it allocates. By default it also marks in tasks of its own between requests, and
 * on four threads: with 10,000 held on one core that took all of it for 200 ms every half minute (bench/README.md).
 * The threads are turned off by `--single-threaded-gc`, in cli.ts; a flag that a later Node may not
 * know is set here, where it costs a line on stderr and not the start.
 */
export function markInSteps(): void {
  setFlagsFromString('--no-incremental-marking-task');
}

/** How often it is looked at who is connected, ms. */
const EVERY = 2000;
/** Connections that make a crowd, and the share of one that may be left when it counts as gone. */
const CROWD = 1000;
const LEFT = 0.25;

/**
 * Collects garbage when a crowd has gone. V8 collects as memory is asked for, and a node that nobody asks asks for none:
 * after 10,000 pages it kept 100 MB for as long as it was idle (measured). Twice, because the first time leaves V8 pages of
 * memory that only the second gives back, and with few connections left, because it stops everything for as long as they take.
 * @param crowd how many are connected now, and the most since this was asked before @returns stop
 */
export function collectAfterCrowds(crowd: () => { now: number; most: number }): () => void {
  // Node has no call for this; the flag gives new contexts one (nodejs/node, doc/api/cli.md: --expose-gc)
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  let most = 0;
  let times = 0;
  const look = setInterval(() => {
    const { now, most: between } = crowd();
    most = Math.max(most, between);
    if (most >= CROWD && now <= most * LEFT) {
      most = now;
      times = 2;
    }
    if (times > 0) {
      times--;
      collect();
    }
  }, EVERY).unref();
  return () => clearInterval(look);
}
