/** Garbage: what is collected while pages are served, and what a crowd leaves behind. */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/**
 * Leaves the marking of all that lives to V8's own thread. By default V8 marks on this one as well, as tasks between
 * requests, and with 10,000 held at 1,000 answers a second on one core that took all of it for 200 ms every half
 * minute: p99 of a set to its page was 160 to 220 ms while it lasted, and is 9 to 11 now (measured, bench/README.md).
 * With one such thread (`--v8-pool-size=1`, the first line of cli.ts): four would take four fifths of a shared core.
 */
export function markAside(): void {
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
