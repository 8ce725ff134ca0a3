/** A store that fails: operations that are slow, lost, done although they failed, done late, done twice, or never answered. */
import {
  type Broker,
  type Peek,
  type Receipt,
  type SetOptions,
  Unavailable,
} from '../../src/brokers/broker.js';
import type { LoginStore } from '../../src/login/machine.js';
import type { Random } from '../chaos/random.js';

/** ms of virtual time */
export const pass = (ms: number) => new Promise<void>(resolve => setTimeout(resolve, ms));
/** The node that waits for this has died. */
const never = () => new Promise<never>(() => {});

const FAULTS = ['before', 'after', 'late', 'twice', 'dies before', 'dies after'] as const;

export interface Faults {
  /** how many operations fail, 0 to 1 */
  rate: number;
  /** the waits that are drawn last so many times as long */
  scale: number;
  /** is called with everything that is set, whether it is stored or not */
  onSet(key: string, value: string): void;
}

export class FaultyStore implements LoginStore {
  readonly #broker: Pick<Broker, 'set' | 'peek'>;
  readonly #random: Random;
  readonly #faults: Faults;

  constructor(broker: Pick<Broker, 'set' | 'peek'>, random: Random, faults: Faults) {
    this.#broker = broker;
    this.#random = random;
    this.#faults = faults;
  }

  setRendered(key: string, value: string, options: SetOptions): Promise<Receipt> {
    this.#faults.onSet(key, value);
    return this.#operation(() => this.#broker.set(key, value, options));
  }

  peek(key: string): Promise<Peek> {
    return this.#operation(() => this.#broker.peek(key, false));
  }

  async #operation<T>(act: () => Promise<T>): Promise<T> {
    const random = this.#random;
    const fault = random.next() < this.#faults.rate ? random.pick(FAULTS) : undefined;
    await this.#way();
    if (fault === 'dies before') return never();
    if (fault === 'before' || fault === 'late') {
      if (fault === 'late')
        void pass(random.between(0, 8000) * this.#faults.scale).then(() => act().catch(() => {}));
      throw new Unavailable('fault');
    }
    if (fault === 'twice') {
      await act().catch(() => {});
      await this.#way();
    }
    try {
      return await act();
    } finally {
      if (random.next() < 0.2) await this.#way();
      if (fault === 'dies after') await never();
      // biome-ignore lint/correctness/noUnsafeFinally: whatever was answered is lost
      if (fault === 'after') throw new Unavailable('fault');
    }
  }

  #way(): Promise<void> {
    const ms = this.#random.next() < 0.85 ? this.#random.between(0, 5) : this.#random.between(0, 2000);
    return pass(ms * this.#faults.scale);
  }
}
