/**
 * What one Redis server keeps, and what the broker's Lua scripts do to it, in memory: written from the heads and bodies of
 * `src/brokers/redis/*.lua`. `store.test.ts` gives the same commands to a real server and compares.
 */

/** What a server knows apart from its keys. */
export interface Surroundings {
  /** unix ms */
  now(): number;
  /** the server's replication id: another one after a restart and after a promotion */
  replid(): string;
  /** how many connections are subscribed to a channel: PUBSUB NUMSUB */
  receivers(channel: string): number;
  /** @returns how many receive it */
  publish(channel: string, message: string): number;
}

export type Reply = null | string | number | Reply[];
type Kept = { text: string; fields?: undefined } | { text?: undefined; fields: Map<string, string> };

const WRONGTYPE = 'WRONGTYPE Operation against a key holding the wrong kind of value';
/** Values up to the one that passes the limit. @returns also what is left of the limit */
function upTo(limit: number, fields: Map<string, string>, first: number, last: number) {
  const values: Reply[] = [];
  let left = limit;
  for (let number = first; number <= last && left >= 0; number++) {
    const value = fields.get(String(number)) ?? null;
    values.push(value);
    left -= value?.length ?? 0;
  }
  return { values, left };
}
const newestEpoch = (epochs: string) => /([^ @]+)@\d+$/.exec(epochs)?.[1] ?? '';
const namesIn = (watchers: string) => /^[^|]*\|(.*)$/.exec(watchers)?.[1];

export class Store {
  readonly #around: Surroundings;
  readonly #kept = new Map<string, { value: Kept; expiresAt: number }>();
  /** is called for each entry that is stored */
  onStored: (key: string, number: number, value: string) => void = () => {};

  constructor(around: Surroundings) {
    this.#around = around;
  }

  keys(): string[] {
    return [...this.#kept.keys()].filter(key => this.#find(key));
  }

  get(key: string): string | null {
    const value = this.#find(key)?.value;
    if (value?.fields) throw new Error(WRONGTYPE);
    return value?.text ?? null;
  }

  /** @param life ms */
  put(key: string, text: string, life = Number.POSITIVE_INFINITY): void {
    this.#kept.set(key, { value: { text }, expiresAt: this.#around.now() + life });
  }

  del(key: string): number {
    const there = this.#find(key) ? 1 : 0;
    this.#kept.delete(key);
    return there;
  }

  hash(key: string): Map<string, string> | undefined {
    const value = this.#find(key)?.value;
    if (value && !value.fields) throw new Error(WRONGTYPE);
    return value?.fields;
  }

  hset(key: string, field: string, text: string): void {
    const fields = this.hash(key);
    if (fields) fields.set(field, text);
    else
      this.#kept.set(key, {
        value: { fields: new Map([[field, text]]) },
        expiresAt: Number.POSITIVE_INFINITY,
      });
  }

  expire(key: string, life: number): void {
    const found = this.#find(key);
    if (found) found.expiresAt = this.#around.now() + life;
  }

  pttl(key: string): number {
    const found = this.#find(key);
    if (!found) return -2;
    return found.expiresAt === Number.POSITIVE_INFINITY ? -1 : found.expiresAt - this.#around.now();
  }

  /** set.lua */
  set(names: readonly string[], args: readonly string[]): Reply {
    const messages = new Map<string, string>();
    const lives = new Map<string, boolean>();
    const replies: Reply[] = [];
    let failed: unknown;
    for (let k = 0; k < names.length && !failed; k += 2) {
      const own = args.slice(7 + (k / 2) * 8, 7 + (k / 2) * 8 + 8);
      try {
        replies.push(this.#store(names[k] as string, names[k + 1] as string, args, own, messages, lives));
      } catch (error) {
        failed = error;
      }
    }
    for (const [node, message] of messages) this.#around.publish(`${args[3]}${node}`, message);
    if (failed) throw failed;
    return replies;
  }

  /** subscribe.lua */
  subscribe(names: readonly string[], [node = '', lease = '', limit, ...cursors]: readonly string[]): Reply {
    const replies: Reply[] = [];
    let room = Number(limit);
    for (let k = 0; k < names.length; k += 2) {
      if (room < 0) {
        replies.push(null);
        continue;
      }
      const watchers = names[k] as string;
      const head = this.hash(names[k + 1] as string);
      const n = Number(head?.get('n') ?? 0);
      const epochs = head?.get('e') ?? '';
      const position = n > 0 ? `${newestEpoch(epochs)}-${n}` : '';
      const before = this.get(watchers);
      const alone = `${position}|${node}`;
      this.put(watchers, alone, Number(lease));
      if (before !== null && before !== alone)
        this.#join(watchers, position, node, Number(lease), namesIn(before) ?? '');
      if (!head || n === 0) {
        replies.push([]);
        continue;
      }
      const seen = seenBy(cursors[k / 2] ?? '', epochs, n);
      const first = Math.max(seen + 1, Number(head.get('o')));
      const reply: Reply[] = [n, epochs, head.has('f') ? 1 : 0, seen, head.get('w') ?? '', first];
      const { values, left } = upTo(room, head, first, n);
      room = left;
      replies.push([...reply, ...values]);
    }
    return replies;
  }

  /** unsubscribe.lua */
  unsubscribe(names: readonly string[], [node]: readonly string[]): Reply {
    for (const watchers of names) {
      const before = this.get(watchers);
      if (before === null) continue;
      const others = (namesIn(before) ?? '')
        .split(' ')
        .filter(name => name !== '' && name.split('@')[0] !== node);
      if (others.length === 0) this.del(watchers);
      else this.#keepTtl(watchers, `${before.slice(0, before.indexOf('|'))}|${others.join(' ')}`);
    }
    return null;
  }

  /** renew.lua */
  renew([node, lease, ...names]: readonly string[]): Reply {
    const life = Number(lease);
    return names.map(key => {
      const watchers = this.get(key);
      if (watchers === null || life === 0) return watchers;
      if (!watchers.includes(`${node}@`)) {
        this.expire(key, life);
        return watchers;
      }
      const ends = this.#seconds() + Math.ceil(life / 1000);
      const renewed = (namesIn(watchers) ?? '')
        .split(' ')
        .map(name => (name.split('@')[0] === node ? `${node}@${ends}` : name));
      this.put(key, `${watchers.slice(0, watchers.indexOf('|'))}|${renewed.join(' ')}`, life);
      return watchers;
    });
  }

  /** heartbeat.lua */
  heartbeat(marker: string, [life, channel = '', message = '']: readonly string[]): Reply {
    const there = this.get(marker) === null ? 0 : 1;
    this.put(marker, '1', Number(life));
    this.#around.publish(channel, message);
    return [there, this.#around.replid()];
  }

  /** peek.lua */
  peek(key: string, [limit, from]: readonly string[]): Reply {
    const head = this.hash(key);
    const n = Number(head?.get('n') ?? 0);
    if (!head || n === 0) return [];
    const first = Math.max(Number(from), Number(head.get('o')));
    const reply: Reply[] = [this.pttl(key), n, head.get('e') ?? '', head.has('f') ? 1 : 0, 0, '', first];
    reply.push(...upTo(Number(limit), head, first, n).values);
    return reply;
  }

  /** prove.lua */
  prove(entries: string, [position = '', channels = '', message = '']: readonly string[]): Reply {
    const head = this.hash(entries);
    const items = (head?.get('w') ?? '').split(' ');
    const at = items.findIndex(item => item.startsWith(`${position}@`));
    if (at < 0 || !head?.has(/\d+$/.exec(position)?.[0] ?? '')) return null;
    const [, ...nodes] = (items[at] as string).split('@');
    items[at] = position;
    this.hset(entries, 'w', items.join(' '));
    for (const node of nodes) this.#around.publish(`${channels}${node}`, message);
    return null;
  }

  /** Of set.lua. */
  #want(entries: string, position: string, oldest: number, node: string): number {
    const offset = (item: string) => Number(/^[^@]*?(\d+)(?:@|$)/.exec(item)?.[1]);
    const items = (this.hash(entries)?.get('w') ?? '').split(' ').filter(item => item !== '');
    if (items.includes(position)) return 1;
    const at = items.findIndex(item => item.startsWith(`${position}@`));
    if (at < 0) items.push(`${position}@${node}`);
    else if (!items[at]?.split('@').includes(node, 1)) items[at] += `@${node}`;
    this.hset(entries, 'w', items.filter(item => offset(item) >= oldest).join(' '));
    return 0;
  }

  #store(
    entries: string,
    watchers: string,
    [keep, receipts, newEpoch, channels, living, markers, node = '']: readonly string[],
    [value = '', ttl, final, expect = '', id = '', at, key = '', wants]: readonly string[],
    messages: Map<string, string>,
    lives: Map<string, boolean>,
  ): Reply {
    const head = this.hash(entries);
    let n = Number(head?.get('n') ?? 0);
    let oldest = Number(head?.get('o') ?? 1);
    let epochs = head?.get('e') ?? '';
    const prev = n > 0 ? `${newestEpoch(epochs)}-${n}` : '';
    const receipt = head?.get(`i:${id}`);
    if (id !== '' && receipt !== undefined) {
      const [first = '', watched] = receipt.split(' ');
      const proved = wants === 'r' ? this.#want(entries, first, oldest, node) : 0;
      if (wants === 'r' && proved === 0)
        for (const name of (namesIn(this.get(watchers) ?? '') ?? '').split(' ').filter(one => one !== ''))
          this.#around.publish(`${channels}${name.split('@')[0]}`, `w ${key} ${first}`);
      return ['again', first, Number(watched), proved];
    }
    if (head?.has('f')) return ['final', prev];
    if (expect !== '*' && expect !== prev) return ['expect', prev];

    n++;
    const here = this.#around.replid();
    if (head?.get('r') !== here)
      epochs = `${epochs} ${newEpoch}@${n}`
        .split(' ')
        .filter(epoch => epoch !== '')
        .slice(-8)
        .join(' ');
    const cursor = `${newestEpoch(epochs)}-${n}`;

    const isThere = (node: string) => {
      if (living === '*') return true;
      const known = lives.get(node);
      if (known !== undefined) return known;
      const lives_ =
        living !== ''
          ? (living as string).includes(` ${node} `)
          : this.#around.receivers(`${channels}${node}`) > 0 && this.#find(`${markers}${node}`) !== undefined;
      lives.set(node, lives_);
      return lives_;
    };
    const names = namesIn(this.get(watchers) ?? '');
    const nodes = (names ?? '').split(' ').flatMap(name => name.split('@')[0] || []);
    const watched = nodes.map(isThere).includes(true) ? 1 : 0;

    const put = (field: string, text: string | number) => this.hset(entries, field, String(text));
    put('n', n);
    put('e', epochs);
    put('r', here);
    put(String(n), value);
    if (final === '1') put('f', '1');
    const gone: string[] = [];
    for (; n - oldest >= Number(keep); oldest++) gone.push(String(oldest));
    put('o', oldest);
    if (id !== '') {
      put(`i:${id}`, `${cursor} ${watched}`);
      put(`j:${n}`, id);
    }
    const ancient = n - Number(receipts);
    const forgotten = ancient > 0 ? this.hash(entries)?.get(`j:${ancient}`) : undefined;
    if (forgotten !== undefined) gone.push(`j:${ancient}`, `i:${forgotten}`);
    for (const field of gone) this.hash(entries)?.delete(field);
    if (wants === 'r') this.#want(entries, cursor, oldest, node);
    this.expire(entries, Number(ttl));
    if (names !== undefined) this.#keepTtl(watchers, `${cursor}|${names}`);

    const line = `\n${key} ${cursor} ${prev} ${final}${wants} ${at} ${value}`;
    for (const node of nodes) messages.set(node, (messages.get(node) ?? 'e') + line);
    this.onStored(key, n, value);
    return ['stored', cursor, watched];
  }

  #join(watchers: string, position: string, node: string, lease: number, others: string): void {
    const now = this.#seconds();
    const names = [node];
    for (const [, name = '', till] of others.matchAll(/([^ @]+)@?(\d*)/g)) {
      const ends = till ? Number(till) : now + Math.ceil(lease / 1000);
      if (name !== node && ends >= now) names.push(`${name}@${ends}`);
    }
    if (names.length > 1) this.put(watchers, `${position}|${names.join(' ')}`, lease);
  }

  #keepTtl(key: string, text: string): void {
    const found = this.#find(key);
    if (found) found.value = { text };
  }

  #find(key: string) {
    const found = this.#kept.get(key);
    if (!found || found.expiresAt > this.#around.now()) return found;
    this.#kept.delete(key);
    return undefined;
  }

  #seconds = () => Math.floor(this.#around.now() / 1000);
}

/** How many entries a cursor has seen, as subscribe.lua counts it. */
function seenBy(cursor: string, epochs: string, n: number): number {
  const starts = [...epochs.matchAll(/([^ @]+)@(\d+)/g)].map(([, epoch, first]) => ({
    epoch,
    first: Number(first),
  }));
  const counted = new Set<string | undefined>();
  let most = 0;
  for (const [, id, position] of cursor.matchAll(/([^.-]+)-(\d+)/g)) {
    const at = starts.findIndex(({ epoch }) => epoch === id);
    const last = (starts[at + 1]?.first ?? n + 1) - 1;
    const offset = Number(position);
    if (at >= 0 && (offset <= last || !counted.has(id))) most = Math.max(most, Math.min(offset, last));
    counted.add(id);
  }
  return most;
}
