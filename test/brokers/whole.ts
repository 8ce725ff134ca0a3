/** A store in memory with all methods of a broker. */
import type { Events, Known } from '../../src/brokers/broker.js';
import { MemoryBroker } from '../../src/brokers/memory.js';

export class Whole extends MemoryBroker {
  override readonly lease: number = 900;
  events!: Events;
  override start(events: Events) {
    this.events = events;
    return super.start(events);
  }
  async verify(_known: readonly Known[]): Promise<string[]> {
    return [];
  }
  drop(_key: string, _name: string, _from: string): void {}
}

/** Time limit of a call behind the guard, ms. */
export const LIMIT = 10_000;
export const never = () => new Promise<never>(() => {});
