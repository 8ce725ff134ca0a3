/**
 * Encodes and decodes the messages between nodes. Each is one line of text, except entries: one line per entry.
 *
 *   e\n<key> <cursor> <prev> <final> <at> <value>\n…   to one node: new entries of keys that it is subscribed to
 *   b <node> <server> <count>                         to all: heartbeat number `count`, sent through that Redis server
 *   h <node>                                          to one node: greeting, answers the first heartbeat of an unknown node
 *   x <node>                                          to all: goodbye, the node is closing
 *   q <node> <id> <key>                               to all: survey `id`, reply to `node`; `key` may be empty
 *   d <key> <name> <from>                             to all: drop this poll, its page has stopped watching
 *   r <id> <JSON of { info, held }>                   to one node: reply to a survey
 */
import type { Entry, NodeInfo } from './broker.js';

/** The reply of one node to a survey. */
export interface Reply {
  info: NodeInfo;
  /** requests held for the survey's key */
  held: number;
}

export type Message =
  | { kind: 'entries'; entries: [key: string, entry: Entry][] }
  | { kind: 'heartbeat'; node: string; server: string; count: number }
  | { kind: 'greeting'; node: string }
  | { kind: 'goodbye'; node: string }
  | { kind: 'survey'; node: string; id: string; key: string }
  | { kind: 'drop'; key: string; name: string; from: string }
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
    case 'drop':
      return `d ${message.key} ${message.name} ${message.from}`;
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

/** @returns undefined for an unknown message: nodes of another version may run beside this one */
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
    case 'd':
      return { kind: 'drop', key: first, name: second, from: third };
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
