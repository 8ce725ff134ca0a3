/**
 * Keeps the workers of a cluster even when they accept connections from one listening socket: the operating system wakes all
 * of them, and the same few would be first. A worker that is ahead of another pauses until that one has caught up.
 */

/** Connections that a worker may be ahead: so many, and this share of what the last one has accepted. */
const AHEAD = { connections: 4, share: 0.02 };

interface Member {
  /** connections accepted since the set of workers last changed */
  accepted: number;
  paused: boolean;
  /**
   * asked: a reply is due by the next check; silent: none came, so nobody waits for this worker until it is heard again. It
   * may hang, or have much to do.
   */
  state: 'heard' | 'asked' | 'silent';
}

interface Orders<Worker> {
  pause(worker: Worker): void;
  resume(worker: Worker): void;
  /** has the worker report, which may be that it accepted none */
  ask(worker: Worker): void;
}

export class Balance<Worker> {
  readonly #members = new Map<Worker, Member>();
  readonly #orders: Orders<Worker>;

  constructor(orders: Orders<Worker>) {
    this.#orders = orders;
  }

  /** A worker listens now. All start again from 0: new connections go to all, not only to the one without any. */
  add(worker: Worker): void {
    this.#members.set(worker, { accepted: 0, paused: false, state: 'heard' });
    this.#restart();
  }

  /** A worker has died. */
  delete(worker: Worker): void {
    if (this.#members.delete(worker)) this.#restart();
  }

  /** @param count connections accepted since the worker's last report */
  onReport(worker: Worker, count: number): void {
    const member = this.#members.get(worker);
    if (!member) return;
    member.accepted += count;
    member.state = 'heard';
    this.#level();
  }

  /** Checks, a few times a second, that the worker that others wait for is there. */
  check(): void {
    for (const member of this.#members.values()) if (member.state === 'asked') member.state = 'silent';
    const last = this.#level();
    if (last?.[1].state !== 'heard' || this.paused().length === 0) return;
    last[1].state = 'asked';
    this.#orders.ask(last[0]);
  }

  paused(): Worker[] {
    return [...this.#members].flatMap(([worker, member]) => (member.paused ? [worker] : []));
  }

  #restart(): void {
    for (const [worker, member] of this.#members) {
      member.accepted = 0;
      this.#set(worker, member, false);
    }
  }

  /** Pauses the workers that are ahead, and resumes those that no longer are. @returns the one with the fewest connections */
  #level(): [Worker, Member] | undefined {
    let last: [Worker, Member] | undefined;
    for (const entry of this.#members)
      if (entry[1].state !== 'silent' && (!last || entry[1].accepted < last[1].accepted)) last = entry;
    const least = last?.[1].accepted ?? Number.POSITIVE_INFINITY;
    const most = AHEAD.connections + least * AHEAD.share;
    for (const [worker, member] of this.#members) {
      const ahead = member.accepted - least;
      if (member.paused ? ahead <= most / 2 : ahead > most) this.#set(worker, member, !member.paused);
    }
    return last;
  }

  #set(worker: Worker, member: Member, paused: boolean): void {
    if (member.paused === paused) return;
    member.paused = paused;
    this.#orders[paused ? 'pause' : 'resume'](worker);
  }
}
