/** What the replies of several commands make of one read. */
import { expect, test } from 'vitest';
import type { Backlog } from '../../src/brokers/broker.js';
import { addReply } from '../../src/brokers/redis/reply.js';
import type { Read } from '../../src/brokers/redis/subscriptions.js';
import { MAX_ANSWER } from '../../src/protocol/answers.js';

function reading() {
  const answers: Backlog[] = [];
  const read: Read = { key: 'k', since: '', from: '', entries: [], lost: 0, requests: [] };
  const request = { key: 'k', since: '', resolve: (backlog: Backlog) => answers.push(backlog), reject() {} };
  read.requests.push(request);
  /** A reply with the value at this offset, of 9 that end with a final one. */
  const reply = (offset: number, length: number) =>
    addReply(read, [9, 'e@1', 1, offset - 1, '', offset, 'x'.repeat(length)]);
  return { read, answers, reply };
}

test('it goes on after the last value, until nothing is left', () => {
  const { read, answers, reply } = reading();
  for (let offset = 1; offset < 9; offset++) {
    expect(reply(offset, 10)).toBe(false);
    expect(read.from).toBe(`e-${offset}`);
  }
  expect(reply(9, 10)).toBe(true);
  expect(answers).toMatchObject([{ lost: 0, cursor: 'e-9', final: true }]);
  expect(answers[0]?.entries.map(({ cursor }) => cursor)).toEqual(
    [1, 2, 3, 4, 5, 6, 7, 8, 9].map(n => `e-${n}`),
  );
});

test('it ends when it has more than an answer takes: the page asks for the rest', () => {
  const { answers, reply } = reading();
  expect(reply(1, MAX_ANSWER / 2)).toBe(false);
  expect(reply(2, MAX_ANSWER / 2)).toBe(false);
  expect(reply(3, 1)).toBe(true);
  expect(answers).toMatchObject([{ lost: 0, cursor: 'e-9', final: true }]);
  expect(answers[0]?.entries).toHaveLength(3);
});
