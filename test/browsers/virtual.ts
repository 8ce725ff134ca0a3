/** A page made by hand, with the page's script in it and a clock that the test moves. */
import { readFileSync } from 'node:fs';
import { createContext, runInContext } from 'node:vm';

const given = globalThis as { __stryker__?: object };
/** What is handed out; under `npm run mutate` the source, which is what that changes. */
export const script = given.__stryker__
  ? `${readFileSync('client/tagwait.js', 'utf8')}\nvar tagwait = create(window, document, true);`
  : readFileSync('dist/client/tagwait.js', 'utf8');
/** The state of `npm run mutate`, for the window that the script runs in. */
export const mutation = given.__stryker__ ? { __stryker__: given.__stryker__ } : {};
const ADDRESSES = {
  tagwait: 'https://status.example.com/client.js',
  many: 'https://status.example.com/client/many.js',
};

/** What the script put into the page to ask. */
export interface Asked {
  src: string;
  /** when, by the page's clock */
  at: number;
  nonce?: string;
  /** what `setAttribute` and `createElementNS` were given */
  attributes: Record<string, string>;
  parentNode?: { removeChild(script: Asked): void } | undefined;
  onload(): void;
  onerror(): void;
}
export interface Channel {
  name: string;
  sent: number[];
  closed: boolean;
  onmessage?(event: { data: number }): void;
}
export type Values = Record<string, unknown>;
/** What `tagwait.watch` returns. */
export interface Watching {
  stop(): void;
  ended: Promise<string>;
  expires?: number;
}

/** A page that includes the script by a tag with these attributes. */
export class Page {
  readonly polls: Asked[] = [];
  readonly drops: Asked[] = [];
  readonly channels: Channel[] = [];
  /** what handlers were called with: `[name, value]` */
  readonly reported: [string, unknown][] = [];
  readonly tag: {
    src: string;
    isConnected: boolean;
    nonce?: string;
    getAttribute(name: string): string | null;
  };
  /** what timers run with: a sandbox's copy of the window is another object */
  readonly real: Values = {};
  /** scripts in the document now */
  readonly attached = new Set<Asked>();
  readonly document: Values;
  readonly window: Values;
  /** what Math.random says */
  random = 0.5;
  now = 1_000_000;
  #timers: { at: number; run: () => void }[] = [];
  readonly #listeners: { type: string; listener: (event: object) => void; capture: boolean }[] = [];

  /** @param more of the window @param namespaceURI of the document's root @param name of the script */
  constructor(
    attributes: Record<string, string> = {},
    more: Values = {},
    namespaceURI?: string,
    name: keyof typeof ADDRESSES = 'tagwait',
  ) {
    const page = this;
    this.tag = { src: ADDRESSES[name], isConnected: true, getAttribute: name => attributes[name] ?? null };
    const root = {
      namespaceURI,
      removeChild(script: Asked) {
        page.attached.delete(script);
        script.parentNode = undefined;
      },
      appendChild(script: Asked) {
        script.at = page.now;
        script.parentNode = root;
        page.attached.add(script);
        (new URL(script.src).searchParams.has('drop') ? page.drops : page.polls).push(script);
      },
    };
    const element = (made: Record<string, string>) => {
      const attributes: Record<string, string> = { ...made };
      return {
        attributes,
        setAttribute: (name: string, value: string) => {
          attributes[name] = value;
        },
      };
    };
    this.document = {
      readyState: 'complete',
      hidden: false,
      currentScript: this.tag,
      createElement: (name: string) => element({ name }),
      createElementNS: (space: string, name: string) => element({ space, name }),
      getElementsByTagName: (name: string) => (name === 'html' ? [root] : [page.tag]),
    };
    const math = Object.create(Math);
    math.random = () => page.random;
    this.window = {
      ...mutation,
      document: this.document,
      Promise,
      Image: class {
        ownerDocument = page.document;
      },
      Math: math,
      Date: class {
        valueOf = () => page.now;
      },
      BroadcastChannel: class implements Channel {
        sent: number[] = [];
        closed = false;
        constructor(readonly name: string) {
          page.channels.push(this);
        }
        postMessage(age: number) {
          this.sent.push(age);
        }
        close() {
          this.closed = true;
        }
      },
      addEventListener: (type: string, listener: (event: object) => void, capture = false) =>
        page.#listeners.push({ type, listener, capture }),
      setTimeout: (run: () => void, ms = 0) => {
        const timer = { at: page.now + ms, run };
        page.#timers.push(timer);
        return timer;
      },
      ...more,
    };
    this.window.window = this.window;
    createContext(this.window);
    this.load(name);
  }

  /** Runs the script, once more for another tag of the page. */
  load(name: keyof typeof ADDRESSES = 'tagwait'): void {
    const text = name === 'tagwait' ? script : readFileSync(`dist/client/${name}.js`, 'utf8');
    runInContext(text, this.window, { filename: ADDRESSES[name] });
  }

  /** Watches, and lets `ms` pass: its first poll is on its way then. */
  watch(key: string, options: Values = {}, ms = 100): Watching {
    const { watch } = this.window.tagwait as { watch(key: string, options: Values): Watching };
    const tells = (name: string) => (value: unknown) => this.reported.push([name, value]);
    const handlers = { onvalue: tells('value'), onstate: tells('state'), onend: tells('end') };
    const watching = watch(key, { ...handlers, ...options });
    this.pass(ms);
    return watching;
  }

  /** Runs a script of the page's own. */
  run(text: string): void {
    runInContext(text, this.window);
  }

  pass(ms: number): void {
    const end = this.now + ms;
    for (;;) {
      const [next] = this.#timers.filter(({ at }) => at <= end).sort((one, other) => one.at - other.at);
      if (!next) break;
      this.#timers = this.#timers.filter(timer => timer !== next);
      this.now = Math.max(this.now, next.at);
      next.run.call(this.real);
    }
    this.now = end;
  }

  /** The page's clock is put back; its timers run on. */
  back(seconds: number): void {
    this.now -= seconds * 1000;
    for (const timer of this.#timers) timer.at -= seconds * 1000;
  }

  /** An event of the window, or one that bubbles up to it. */
  happens(type: string, more: object = {}): void {
    for (const one of this.#listeners) if (one.type === type) one.listener({ type, ...more });
  }

  /** An event of the document or of an element that does not bubble: the window hears it on its way down alone. */
  happensInside(type: string): void {
    for (const one of this.#listeners) if (one.type === type && one.capture) one.listener({ type });
  }

  get newest(): Asked {
    return this.polls.at(-1) as Asked;
  }

  /** What the newest poll asks. */
  get asked(): URLSearchParams {
    return new URL(this.newest.src).searchParams;
  }

  /** The answer to the newest poll, or to another. */
  answer(answer: Values, poll = this.newest): void {
    const [registry = '', watch = '', name = ''] = callbackOf(poll);
    const calls = this.window[registry] as Record<string, Record<string, (answer: Values) => void>>;
    calls[watch]?.[name]?.(answer);
  }

  /** Of one watch, the functions that answers may call, and its own. */
  get callbacks(): number {
    const [registry = '', watch = ''] = callbackOf(this.newest);
    return Object.keys((this.window[registry] as Record<string, object>)[watch] ?? {}).length;
  }
}

const callbackOf = ({ src }: Asked) => new URL(src).searchParams.get('callback')?.split('.') ?? [];
