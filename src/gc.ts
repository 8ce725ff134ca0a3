/** Garbage collection: V8 flags for short pauses, and a collection after many connections closed. */
import { getHeapSpaceStatistics, setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/** Size of V8's young generation, bytes: two semi-spaces of 2 MiB, as with `--max-semi-space-size=2`. */
const YOUNG_GENERATION = 2 * 2 * 1024 * 1024;

/**
 * Has the effect of the flags in cli.ts on a V8 that is already running: limits the young generation and turns GC
 * threads off. Call it at the start, before there is garbage. `--no-parallel-marking` is left out: changed at run time,
 * it makes V8 abort at a failed check (seen with Node.js 20, 22 and 24).
 */
export function setFlagsLate(): void {
  for (const flag of [
    'concurrent-marking',
    'concurrent-sweeping',
    'parallel-scavenge',
    'parallel-compaction',
  ])
    setFlagsFromString(`--no-${flag}`);
  const size = () => getHeapSpaceStatistics().find(space => space.space_name === 'new_space')?.space_size;
  // the young generation grows when a collection finds much in use: takes about 20 rounds of 1000 objects
  const retained: object[] = [];
  for (let round = 0; round < 100 && (size() ?? YOUNG_GENERATION) < YOUNG_GENERATION; round++)
    for (let count = 0; count < 1000; count++) retained.push({ round, count });
  setFlagsFromString('--semi-space-growth-factor=1');
}

/**
 * Lets V8 mark live objects only in steps during allocation. By default it also marks in tasks between requests and on
 * four threads: with 10,000 held requests on one core, that used the whole core for 200 ms every 30 s
 * (bench/README.md). `--single-threaded-gc` in cli.ts turns the threads off. This flag is set at run time, because a
 * later Node.js may not know it: then it costs a line on stderr, while in cli.ts it would prevent the start.
 */
export function markInSteps(): void {
  setFlagsFromString('--no-incremental-marking-task');
}

/** How often the number of connections is checked, ms. */
const CHECK_INTERVAL = 2000;
/** A peak has at least this many connections. It is over when at most `REMAINING` of them are left. */
const MIN_PEAK = 1000;
const REMAINING = 0.25;

/**
 * Collects garbage after a peak of connections. V8 collects only when memory is allocated, and an idle node allocates
 * none: after 10,000 pages it kept 100 MB for as long as it was idle (measured). Collects twice, because V8 returns
 * some memory pages only the second time. Waits until few connections are left, because they wait during the
 * collection.
 * @param connections the number of connections now, and the largest number since the last call
 * @returns a function that stops this
 */
export function collectAfterPeaks(connections: () => { now: number; peak: number }): () => void {
  // Node.js has no function for this; after the flag, new contexts have one (nodejs/node, doc/api/cli.md: --expose-gc)
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  let peak = 0;
  let collections = 0;
  const timer = setInterval(() => {
    const { now, peak: recent } = connections();
    peak = Math.max(peak, recent);
    if (peak >= MIN_PEAK && now <= peak * REMAINING) {
      peak = now;
      collections = 2;
    }
    if (collections > 0) {
      collections--;
      collect();
    }
  }, CHECK_INTERVAL).unref();
  return () => clearInterval(timer);
}
