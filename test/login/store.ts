/** A store that fails: operations that are slow, lost, done although they failed, done late, done twice, or never answered. */
import { type Peek, type Receipt, type SetOptions, Unavailable } from '../../src/brokers/broker.js';
import type { MemoryBroker } from '../../src/brokers/memory.js';
import type { LoginStore } from '../../src/login/machine.js';
import type { Random } from '../chaos/random.js';

/** ms of virtual time */
export const pass = (ms: number) => new Promise<void>(resolve => setTimeout(resolve, ms));
/** The node that waits for this has died. */
const never = () => new Promise<never>(() => {});

const FAULTS = ['before', 'after', 'late', 'twice', 'dies before', 'dies after'] as const;

export class FaultyStore implements LoginStore {
  readonly #broker: MemoryBroker;
  readonly #random: Random;
  readonly #rate: number;
  /** is called with everything that is set, whether it is stored or not */
  readonly #onSet: (key: string, value: string) => void;

  /** @param rate how many operations fail, 0 to 1 */
  constructor(
    broker: MemoryBroker,
    random: Random,
    rate: number,
    onSet: (key: string, value: string) => void,
  ) {
    this.#broker = broker;
    this.#random = random;
    this.#rate = rate;
    this.#onSet = onSet;
  }

  setRendered(key: string, value: string, options: SetOptions): Promise<Receipt> {
    this.#onSet(key, value);
    return this.#operation(() => this.#broker.set(key, value, options));
  }

  peek(key: string): Promise<Peek> {
    return this.#operation(() => this.#broker.peek(key));
  }

  async #operation<T>(act: () => Promise<T>): Promise<T> {
    const random = this.#random;
    const fault = random.next() < this.#rate ? random.pick(FAULTS) : undefined;
    await pass(this.#way());
    if (fault === 'dies before') return never();
    if (fault === 'before' || fault === 'late') {
      if (fault === 'late') void pass(random.between(0, 8000)).then(() => act().catch(() => {}));
      throw new Unavailable('fault');
    }
    if (fault === 'twice') {
      await act().catch(() => {});
      await pass(this.#way());
    }
    try {
      return await act();
    } finally {
      if (random.next() < 0.2) await pass(this.#way());
      if (fault === 'dies after') await never();
      // biome-ignore lint/correctness/noUnsafeFinally: whatever was answered is lost
      if (fault === 'after') throw new Unavailable('fault');
    }
  }

  #way(): number {
    return this.#random.next() < 0.85 ? this.#random.between(0, 5) : this.#random.between(0, 2000);
  }
}
