/**
 * The messages between nodes, in both directions: one line of text each, but for entries, which are a line each.
 *
 *   e\n<key> <cursor> <prev> <final> <at> <value>\n…   to a node: new entries of keys that it is subscribed to
 *   b <node> <server> <count>                         to all: heartbeat number `count`, carried by that server of the store
 *   h <node>                                          to a node: the answer to the first heartbeat of one that was not known
 *   x <node>                                          to all: this node is closing
 *   q <node> <id> <key>                               to all: survey `id`, replies go to `node`; key may be empty
 *   r <id> <JSON of { info, held }>                   to a node: its reply
 */
import type { Entry, NodeInfo } from './broker.js';

/** What one node says of itself in a survey. */
export interface Reply {
  info: NodeInfo;
  /** requests held for the key that was asked about */
  held: number;
}

export type Message =
  | { kind: 'entries'; entries: [key: string, entry: Entry][] }
  | { kind: 'heartbeat'; node: string; server: string; count: number }
  | { kind: 'greeting'; node: string }
  | { kind: 'goodbye'; node: string }
  | { kind: 'survey'; node: string; id: string; key: string }
  | { kind: 'reply'; id: string; reply: Reply };

export function encode(message: Message): string {
  switch (message.kind) {
    case 'entries':
      return `e${message.entries.map(([key, entry]) => encodeEntry(key, entry)).join('')}`;
    case 'heartbeat':
      return `b ${message.node} ${message.server} ${message.count}`;
    case 'greeting':
      return `h ${message.node}`;
    case 'goodbye':
      return `x ${message.node}`;
    case 'survey':
      return `q ${message.node} ${message.id} ${message.key}`;
    case 'reply':
      return `r ${message.id} ${JSON.stringify(message.reply)}`;
  }
}

const encodeEntry = (key: string, { cursor, prev, final, at, value }: Entry) =>
  `\n${key} ${cursor} ${prev} ${final ? '1' : ''} ${at ?? ''} ${value}`;

/** `encodeEntry` in Lua, for scripts that publish what they store; `final` is "1" or "". */
export const ENCODE_ENTRY_LUA = `local function encode_entry(key, cursor, prev, final, at, value)
  return '\\n' .. key .. ' ' .. cursor .. ' ' .. prev .. ' ' .. final .. ' ' .. at .. ' ' .. value
end
`;

/** @returns undefined for what no node of this version sends: one of another version may run beside this one */
export function decode(text: string): Message | undefined {
  if (text.startsWith('e\n')) return { kind: 'entries', entries: text.slice(2).split('\n').map(decodeEntry) };
  const [kind, first = '', second = '', third = ''] = text.split(' ', 4);
  switch (kind) {
    case 'b':
      return { kind: 'heartbeat', node: first, server: second, count: Number(third) };
    case 'h':
      return { kind: 'greeting', node: first };
    case 'x':
      return { kind: 'goodbye', node: first };
    case 'q':
      return { kind: 'survey', node: first, id: second, key: third };
    case 'r':
      return { kind: 'reply', id: first, reply: JSON.parse(text.slice(`r ${first} `.length)) as Reply };
    default:
      return undefined;
  }
}

function decodeEntry(line: string): [string, Entry] {
  const [key = '', cursor = '', prev = '', final = '', at = ''] = line.split(' ', 5);
  const value = line.slice(key.length + cursor.length + prev.length + final.length + at.length + 5);
  return [key, { value, cursor, prev, final: final === '1', at: at === '' ? undefined : Number(at) }];
}
