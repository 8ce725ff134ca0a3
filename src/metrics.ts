/** What the operator sees at /metrics, in Prometheus text. */
import { Counter, collectDefaultMetrics, Gauge, Registry } from 'prom-client';
import type { Kind } from './answers.js';
import type { NodeInfo } from './broker.js';
import type { Form } from './question.js';

/** How a set ended. */
export type SetResult = 'stored' | 'conflict' | 'refused' | 'unauthorized' | 'unavailable';

export class Metrics {
  readonly #registry = new Registry();
  readonly #answers: Counter<'mode' | 'answer'>;
  readonly #sets: Counter<'result'>;
  readonly #cuts: Counter<'reason'>;

  /** @param describe this node as it is now */
  constructor(describe: () => NodeInfo, ready: () => boolean) {
    const registers = [this.#registry];
    collectDefaultMetrics({ register: this.#registry });
    const { version, id } = describe();
    new Gauge({
      name: 'tagwait_info',
      help: 'The version and name of this node',
      labelNames: ['version', 'node'],
      registers,
    })
      .labels(version, id)
      .set(1);
    new Gauge({
      name: 'tagwait_held',
      help: 'Requests held now',
      registers,
      collect() {
        this.set(describe().held);
      },
    });
    new Gauge({
      name: 'tagwait_ready',
      help: '1 while this node takes pages and reaches its store',
      registers,
      collect() {
        this.set(ready() ? 1 : 0);
      },
    });
    this.#answers = new Counter({
      name: 'tagwait_answers_total',
      help: 'Polls answered, by mode (callback, var, json) and answer',
      labelNames: ['mode', 'answer'],
      registers,
    });
    this.#sets = new Counter({
      name: 'tagwait_sets_total',
      help: 'Sets, by result (stored, conflict, refused, unauthorized, unavailable)',
      labelNames: ['result'],
      registers,
    });
    this.#cuts = new Counter({
      name: 'tagwait_connections_cut_total',
      help: 'Connections of the public port closed unasked, by reason (address, full, pipelining)',
      labelNames: ['reason'],
      registers,
    });
  }

  /** @param reason address: it has too many connections; full: all are in use; pipelining */
  wasCut(reason: 'address' | 'full' | 'pipelining'): void {
    this.#cuts.inc({ reason });
  }

  answered(mode: Form['mode'], answer: Kind): void {
    this.#answers.inc({ mode, answer });
  }

  wasSet(result: SetResult): void {
    this.#sets.inc({ result });
  }

  get contentType(): string {
    return this.#registry.contentType;
  }

  text(): Promise<string> {
    return this.#registry.metrics();
  }
}
