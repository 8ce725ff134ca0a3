/** The metrics of all workers, as the primary adds them up. While it does not answer, what this worker knows. */

/** How long to wait for the primary, ms: longer than it waits for a worker. */
const TIMEOUT = 2000;

interface Sources {
  /** asks the primary for the sum */
  ask(): void;
  /** the metrics of this worker */
  own(): Promise<string>;
  /** called once when the primary does not answer, and again only after it has answered */
  onSilent(): void;
}

/** Metrics in the Prometheus text format. */
export class Scrapes {
  readonly #sources: Sources;
  readonly #waiting = new Set<(text?: string) => void>();
  /** the last sum */
  #last: string | undefined;
  /** answers: not asked; asked: has not answered yet; silent: not in time either */
  #primary: 'answers' | 'asked' | 'silent' = 'answers';

  constructor(sources: Sources) {
    this.#sources = sources;
  }

  async scrape(): Promise<string> {
    // asked once only: a stopped primary would find a question for each scrape when it goes on
    if (this.#primary === 'answers') {
      this.#primary = 'asked';
      this.#sources.ask();
    }
    const text = await new Promise<string | undefined>(resolve => {
      const done = (answer?: string) => {
        clearTimeout(timer);
        this.#waiting.delete(done);
        resolve(answer);
      };
      const timer = setTimeout(done, TIMEOUT);
      this.#waiting.add(done);
    });
    if (text !== undefined) return text;
    if (this.#primary === 'asked') {
      this.#primary = 'silent';
      this.#sources.onSilent();
    }
    return this.#last ?? this.#sources.own();
  }

  onAnswer(text: string): void {
    this.#primary = 'answers';
    this.#last = text;
    for (const done of this.#waiting) done(text);
  }
}
