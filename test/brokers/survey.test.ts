/** The nodes of a deployment, over a channel that the test delivers, in virtual time. */
import { expect, onTestFinished, test, vi } from 'vitest';
import { encode, type Message } from '../../src/brokers/messages.js';
import { DEAD_AFTER, HEARTBEAT_INTERVAL, Survey } from '../../src/brokers/survey.js';

const info = (id: string) => ({ id, held: 0, version: '0', uptime: 0 });

/** The survey of node `me`. @param receivers how many get what it broadcasts; undefined: it is not known */
function surveyOf(receivers: () => number | undefined) {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
  onTestFinished(() => void vi.useRealTimers());
  let asked = '';
  const survey = new Survey(
    'me',
    {
      broadcast: async message => {
        asked = message.split(' ')[2] as string;
        return receivers();
      },
      send: () => {},
    },
    { held: () => 1, describe: () => info('me') },
  );
  survey.listening(true);
  return {
    survey,
    hears: (message: Message) => survey.receive(message),
    heartbeat: (node: string) => survey.receive({ kind: 'heartbeat', node, server: '0', count: 1 }),
    replies: (node: string) =>
      survey.receive({ kind: 'reply', id: asked, reply: { info: info(node), held: 2 } }),
    pass: (ms: number) => vi.advanceTimersByTimeAsync(ms),
  };
}

test.each([
  ['as many as receive it', 2],
  ['as many as live, when it is not known how many receive it', undefined],
])('a survey is over with the last reply, and not later: %s', async (_, receivers) => {
  const { survey, heartbeat, replies, pass } = surveyOf(() => receivers);
  heartbeat('other');
  let found: string[] | undefined;
  void survey.ask('k').then(all => {
    found = all.map(reply => reply.info.id);
  });
  await pass(0);
  replies('me');
  await pass(0);
  expect(found).toBe(undefined);
  replies('other');
  await pass(0);
  expect(found).toEqual(['me', 'other']);
});

test('a survey does not wait for a node that has said goodbye, or was not heard for long', async () => {
  const { survey, hears, heartbeat, pass } = surveyOf(() => undefined);
  for (const node of ['leaves', 'dies', 'lives']) heartbeat(node);
  expect(survey.alive()).toEqual(['me', 'leaves', 'dies', 'lives']);
  hears({ kind: 'goodbye', node: 'leaves' });
  expect(survey.alive()).toEqual(['me', 'dies', 'lives']);
  for (let beat = 0; beat * HEARTBEAT_INTERVAL <= DEAD_AFTER + HEARTBEAT_INTERVAL; beat++) {
    await pass(HEARTBEAT_INTERVAL);
    heartbeat('lives');
  }
  expect(survey.alive()).toEqual(['me', 'lives']);
});

test('a survey whose replies do not come ends without them, within a second', async () => {
  const { survey, pass } = surveyOf(() => 3);
  let found: unknown[] | undefined;
  void survey.ask('k').then(all => {
    found = all;
  });
  await pass(1000);
  expect(found).toHaveLength(1);
});

test('the goodbye of a node is what the others take it for', () => {
  const { survey } = surveyOf(() => 1);
  expect(survey.goodbye()).toBe(encode({ kind: 'goodbye', node: 'me' }));
});
