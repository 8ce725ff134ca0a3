/** The messages between nodes: their text, which nodes of other versions read too, and what is read of it. */
import { expect, test } from 'vitest';
import { decode, encode, type Message } from '../../src/brokers/messages.js';

const entry = { value: '"a b"', cursor: 'e1-2', prev: 'e1-1', final: false, at: 1_700_000_000_000 };

test.each<[Message, string]>([
  [{ kind: 'gap', key: 'k' }, 'g k'],
  [{ kind: 'heartbeat', node: 'n1', server: '0', count: 7 }, 'b n1 0 7'],
  [{ kind: 'greeting', node: 'n1' }, 'h n1'],
  [{ kind: 'goodbye', node: 'n1' }, 'x n1'],
  [{ kind: 'survey', node: 'n1', id: 'ff', key: 'k' }, 'q n1 ff k'],
  [{ kind: 'survey', node: 'n1', id: 'ff', key: '' }, 'q n1 ff '],
  [{ kind: 'drop', key: 'k', name: 'tab', from: '192.0.2.1' }, 'd k tab 192.0.2.1'],
  [
    { kind: 'reply', id: 'ff', reply: { info: { id: 'n1', held: 3, version: '1 2', uptime: 4 }, held: 2 } },
    'r ff {"info":{"id":"n1","held":3,"version":"1 2","uptime":4},"held":2}',
  ],
  [{ kind: 'entries', entries: [['k', entry]] }, 'e\nk e1-2 e1-1  1700000000000 "a b"'],
  [
    {
      kind: 'entries',
      entries: [
        ['k', { ...entry, prev: '', value: '', final: true }],
        ['l', { ...entry, at: undefined }],
      ],
    },
    'e\nk e1-2  1 1700000000000 \nl e1-2 e1-1   "a b"',
  ],
])('%o', (message, text) => {
  expect(encode(message)).toBe(text);
  expect(decode(text)).toEqual(message);
});

test.each<[string, Message]>([
  ['g', { kind: 'gap', key: '' }],
  ['b n1', { kind: 'heartbeat', node: 'n1', server: '', count: 0 }],
  ['q n1', { kind: 'survey', node: 'n1', id: '', key: '' }],
  ['p', { kind: 'receipt', key: '', position: '', state: 'proved' }],
  ['d k', { kind: 'drop', key: 'k', name: '', from: '' }],
  [
    'e\nk e1-2\n',
    {
      kind: 'entries',
      entries: [
        ['k', { value: '', cursor: 'e1-2', prev: '', final: false, at: undefined }],
        ['', { value: '', cursor: '', prev: '', final: false, at: undefined }],
      ],
    },
  ],
])('what is missing of "%s" is empty, and no text of its own', (text, message) => {
  expect(decode(text)).toEqual(message);
});

test.each(['', 'e', 'z n1', 'bb n1 0 7', 'E\nk e1-2 e1-1  1 v'])(
  '"%s" is no message of this version',
  text => {
    expect(decode(text)).toBeUndefined();
  },
);
