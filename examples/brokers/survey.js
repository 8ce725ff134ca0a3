/** Asks every node how many requests it holds for a key: for brokers that can send messages between nodes. */
import { randomBytes } from 'node:crypto';

/** How long a survey waits for replies, ms. */
const TIMEOUT = 700;

export class Survey {
  #node;
  #events;
  #send;
  /** surveys that wait for replies, by id */
  #open = new Map();

  /** @param send sends an object to a node, or to all nodes if the name is '' */
  constructor(node, events, send) {
    this.#node = node;
    this.#events = events;
    this.#send = (to, message) => send(to, message).catch(() => {});
  }

  /** @param nodes how many nodes are alive @returns the numbers above 0, by node */
  async ask(key, nodes) {
    const id = randomBytes(6).toString('hex');
    const waiters = {};
    const replies = new Promise(done => this.#open.set(id, { waiters, left: nodes, done }));
    this.#send('', { survey: id, key, from: this.#node });
    await Promise.race([replies, new Promise(done => setTimeout(done, TIMEOUT))]);
    this.#open.delete(id);
    return waiters;
  }

  drop(...drop) {
    this.#send('', { drop, from: this.#node });
  }

  /** Handles a message that `send` sent. */
  receive({ survey: id, reply, drop, key, from, held }) {
    if (drop && from !== this.#node) this.#events.drop(...drop);
    if (id) this.#send(from, { reply: id, from: this.#node, held: this.#events.held(key) });
    const survey = this.#open.get(reply);
    if (!survey) return;
    if (held > 0) survey.waiters[from] = held;
    if (--survey.left === 0) survey.done();
  }
}
