/** The messages between nodes: their text, which nodes of other versions read too, and what is read of it. */
import { expect, test } from 'vitest';
import { decode, encode, type Message } from '../../src/brokers/messages.js';
import { Survey } from '../../src/brokers/survey.js';
import { Random } from '../chaos/random.js';

const entry = { value: '"a b"', cursor: 'e1-2', prev: 'e1-1', final: false, at: 1_700_000_000_000 };

test.each<[Message, string]>([
  [{ kind: 'gap', key: 'k' }, 'g k'],
  [{ kind: 'heartbeat', node: 'n1', server: '0', count: 7 }, 'b n1 0 7'],
  [{ kind: 'greeting', node: 'n1' }, 'h n1'],
  [{ kind: 'goodbye', node: 'n1' }, 'x n1'],
  [{ kind: 'survey', node: 'n1', id: 'ff', key: 'k' }, 'q n1 ff k'],
  [{ kind: 'survey', node: 'n1', id: 'ff', key: '' }, 'q n1 ff '],
  [{ kind: 'receipt', key: 'k', position: 'e1-2', state: 'wanted' }, 'w k e1-2'],
  [{ kind: 'receipt', key: 'k', position: 'e1-2', state: 'proved' }, 'p k e1-2'],
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
        ['m', { ...entry, final: true, receipt: true }],
      ],
    },
    'e\nk e1-2  1 1700000000000 \nl e1-2 e1-1   "a b"\nm e1-2 e1-1 1r 1700000000000 "a b"',
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
  ['w', { kind: 'receipt', key: '', position: '', state: 'wanted' }],
  ['h', { kind: 'greeting', node: '' }],
  ['b', { kind: 'heartbeat', node: '', server: '', count: 0 }],
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

test.each([
  'r',
  'r ff',
  'r ff ',
  'r ff {"info":{"id":"n1"',
  'r ff null',
  'r ff 1',
  'r ff {}',
  'r ff {"info":null,"held":1}',
  'r ff {"info":{"id":1,"held":3,"version":"1","uptime":4},"held":2}',
  'r ff {"info":{"id":"n1","held":3,"version":"1","uptime":4}}',
  'r ff {"info":{"id":"n1","held":3,"version":"1","uptime":4},"held":null}',
])('"%s" is no reply to a survey', text => {
  expect(decode(text)).toBeUndefined();
});

test('no text makes a node throw: messages that are cut, changed, or of another channel', async () => {
  const random = new Random(Number(process.env.FUZZ_SEED ?? 1));
  const whole = [
    'g k',
    'b n1 0 7',
    'q n1 ff k',
    'w k e1-2',
    'd k tab 192.0.2.1',
    'e\nk e1-2 e1-1 1r 1700000000000 "a b"\nl e1-1   1 2',
    'r ff {"info":{"id":"n1","held":3,"version":"1 2","uptime":4},"held":2}',
    'r ff {"info":{"id":"n1","held":3,"version":"1 2","uptime":4},"held":2}',
  ];
  const letters = [...' \n{}[]":,0r1eb\\\0é\ud800', 'null', '__proto__', 'e\n', 'r '];
  let asked = 'ff';
  const survey = new Survey(
    'me',
    {
      broadcast: async message => {
        asked = message.split(' ')[2] as string;
        return 1e9;
      },
      send() {},
    },
    {
      entry() {},
      gap() {},
      drop() {},
      held: () => 1,
      describe: () => ({ id: 'me', held: 0, version: '0', uptime: 0 }),
    },
  );
  const asking = survey.ask('k');
  for (let count = 0; count < 5000; count++) {
    let text = random.pick(whole).replace('ff', asked);
    for (let changes = random.between(0, 4); changes > 1; changes--) {
      const at = Math.floor(random.between(0, text.length + 1));
      const until = random.next() < 0.5 ? at : Math.floor(random.between(at, text.length + 1));
      text = `${text.slice(0, at)}${random.next() < 0.3 ? '' : random.pick(letters)}${text.slice(until)}`;
    }
    try {
      survey.receive(decode(text));
    } catch (error) {
      expect.unreachable(`${JSON.stringify(text)}: ${error}`);
    }
  }
  expect((await asking).length).toBeGreaterThan(1);
});
