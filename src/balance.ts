/**
 * Keeps the workers of a cluster even when they accept connections from one listening socket: the operating system wakes all
 * of them, and the same few would be first. A worker that has more connections than another pauses until that one has caught
 * up.
 */

/**
 * How many more connections than the last one a worker may have: so many, and these shares of what the last one has. The more
 * short connections there are, the coarser: each pause costs a message and a new listening handle.
 */
const AHEAD = { connections: 4, open: 0.02, closed: 0.1 };
export const allowance = (open: number, closed = 0) =>
  AHEAD.connections + open * AHEAD.open + closed * AHEAD.closed;
/**
 * A closed connection counts half after this time, ms, a quarter after twice the time … So a worker that closes each
 * connection at once does not get all of them, and one whose clients all leave together gets others little by little.
 */
const HALF_LIFE = 10_000;
/** So many connections a new worker gets alone. What else it lacks counts as closed at its start, and comes little by little. */
const ALONE = 1000;
/** How often `check` is to be called, ms. */
export const CHECK_INTERVAL = 250;

interface Member {
  open: number;
  /** closed connections, less with time */
  closed: number;
  paused: boolean;
  /**
   * asked: a reply is due by the next check; silent: none came, so nobody waits for this worker until it is heard again. It
   * may hang, or have much to do.
   */
  state: 'heard' | 'asked' | 'silent';
}
const countOf = ({ open, closed }: Member) => open + closed;

interface Orders<Worker> {
  pause(worker: Worker): void;
  resume(worker: Worker): void;
  /** has the worker report */
  ask(worker: Worker): void;
}

export class Balance<Worker> {
  readonly #members = new Map<Worker, Member>();
  readonly #orders: Orders<Worker>;

  constructor(orders: Orders<Worker>) {
    this.#orders = orders;
  }

  get size(): number {
    return this.#members.size;
  }

  has(worker: Worker): boolean {
    return this.#members.has(worker);
  }

  /** A worker listens now, without any connection. */
  add(worker: Worker): void {
    const least = this.#last()?.[1];
    const closed = least ? Math.max(0, countOf(least) - ALONE) : 0;
    this.#members.set(worker, { open: 0, closed, paused: false, state: 'heard' });
    this.#level();
  }

  /** A worker has died. */
  delete(worker: Worker): void {
    if (this.#members.delete(worker)) this.#level();
  }

  /** @param accepted connections since the worker's last report @param open all that are open now */
  onReport(worker: Worker, accepted: number, open: number): void {
    const member = this.#members.get(worker);
    if (!member) return;
    member.closed += Math.max(0, member.open + accepted - open);
    member.open = open;
    member.state = 'heard';
    this.#level();
  }

  /** Has closed connections count less, and checks that the worker that others wait for is there. */
  check(): void {
    for (const member of this.#members.values()) {
      member.closed *= 0.5 ** (CHECK_INTERVAL / HALF_LIFE);
      if (member.state === 'asked') member.state = 'silent';
    }
    const last = this.#level();
    if (!last || this.paused().length === 0) return;
    last[1].state = 'asked';
    this.#orders.ask(last[0]);
  }

  paused(): Worker[] {
    return [...this.#members].flatMap(([worker, member]) => (member.paused ? [worker] : []));
  }

  /** The worker with the fewest connections, of those that reply. */
  #last(): [Worker, Member] | undefined {
    let last: [Worker, Member] | undefined;
    for (const entry of this.#members)
      if (entry[1].state !== 'silent' && (!last || countOf(entry[1]) < countOf(last[1]))) last = entry;
    return last;
  }

  /** Pauses the workers that are ahead, and resumes those that no longer are. @returns the last one */
  #level(): [Worker, Member] | undefined {
    const last = this.#last();
    const { open, closed } = last?.[1] ?? { open: Number.POSITIVE_INFINITY, closed: 0 };
    const most = allowance(open, closed);
    for (const [worker, member] of this.#members) {
      const ahead = countOf(member) - open - closed;
      if (member.paused ? ahead <= most / 2 : ahead > most) this.#set(worker, member, !member.paused);
    }
    return last;
  }

  #set(worker: Worker, member: Member, paused: boolean): void {
    member.paused = paused;
    this.#orders[paused ? 'pause' : 'resume'](worker);
  }
}
