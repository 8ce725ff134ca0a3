/** The nodes of a deployment, over a channel that the test delivers, in virtual time. */
import { expect, onTestFinished, test, vi } from 'vitest';
import { encode, type Message } from '../../src/brokers/messages.js';
import { DEAD_AFTER, HEARTBEAT_INTERVAL, nodesIn, Survey, waitersIn } from '../../src/brokers/survey.js';

const info = (id: string) => ({ id, held: 0, version: '0', uptime: 0 });

/** The survey of node `me`. @param receivers how many get what it broadcasts; undefined: it is not known */
function surveyOf(receivers: () => number | undefined) {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
  onTestFinished(() => void vi.useRealTimers());
  let asked = '';
  const sent: [node: string, message: string][] = [];
  const broadcasts: string[] = [];
  /** calls of the node, about keys */
  const log: unknown[][] = [];
  const survey = new Survey(
    'me',
    {
      broadcast: async message => {
        asked = message.split(' ')[2] as string;
        broadcasts.push(message);
        return receivers();
      },
      send: (node, message) => sent.push([node, message]),
    },
    {
      entry: (...of) => log.push(['entry', ...of]),
      gap: (...of) => log.push(['gap', ...of]),
      drop: (...of) => log.push(['drop', ...of]),
      receipt: (...of) => log.push(['receipt', ...of]),
      held: () => 1,
      describe: () => info('me'),
    },
  );
  survey.listening(true);
  return {
    survey,
    sent,
    log,
    broadcasts,
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

test('a node knows all others 2.5 s after it began to listen, and again after it stopped', async () => {
  const { survey, pass } = surveyOf(() => 1);
  const complete = async (ms: number) => {
    await pass(ms);
    return survey.isComplete();
  };
  expect([await complete(2500), await complete(1)]).toEqual([false, true]);
  survey.listening(false);
  expect(await complete(60_000)).toBe(false);
  survey.listening(true);
  expect([await complete(2500), await complete(1)]).toEqual([false, true]);
});

test('a node greets another whose heartbeat is the first, once, and neither itself nor one that greets', () => {
  const { survey, sent, hears, heartbeat } = surveyOf(() => 1);
  for (const node of ['me', 'new', 'new']) heartbeat(node);
  for (const node of ['me', 'greets']) hears({ kind: 'greeting', node });
  heartbeat('greets');
  expect(sent).toEqual([['new', 'h me']]);
  expect(survey.alive()).toEqual(['me', 'new', 'greets']);
});

test('a node that has heard nothing for long takes nobody for dead until it hears again', async () => {
  const { survey, heartbeat, pass } = surveyOf(() => 1);
  for (const node of ['a', 'b']) heartbeat(node);
  // three heartbeats of 2 s, and half a second for a late one
  await pass(6500);
  heartbeat('a');
  expect(survey.alive()).toEqual(['me', 'a', 'b']);
  await pass(60_000);
  expect(survey.alive()).toEqual(['me', 'a', 'b']);
  heartbeat('b');
  expect(survey.alive()).toEqual(['me', 'b']);
});

test('a survey of another node is answered with what this node is and holds', () => {
  const { sent, hears } = surveyOf(() => 1);
  hears({ kind: 'survey', node: 'other', id: 'ff', key: 'k' });
  hears({ kind: 'survey', node: 'other', id: 'ee', key: '' });
  expect(sent).toEqual([
    ['other', encode({ kind: 'reply', id: 'ff', reply: { info: info('me'), held: 1 } })],
    ['other', encode({ kind: 'reply', id: 'ee', reply: { info: info('me'), held: 0 } })],
  ]);
});

test('replies that are early, late, repeated or of another survey: each node counts once', async () => {
  const { survey, hears, replies, pass } = surveyOf(() => {
    // the message comes back before its sender knows how many have got it
    for (const node of ['me', 'early']) replies(node);
    return 3;
  });
  let found: string[] | undefined;
  void survey.ask('k').then(all => {
    found = all.map(reply => reply.info.id);
  });
  await pass(0);
  replies('early');
  hears({ kind: 'reply', id: 'other', reply: { info: info('stranger'), held: 1 } });
  await pass(699);
  expect(found).toBe(undefined);
  await pass(1);
  expect(found).toEqual(['me', 'early']);
  replies('late');
  expect(found).toEqual(['me', 'early']);
  const all = surveyOf(() => {
    for (const node of ['me', 'early']) all.replies(node);
    return 2;
  });
  expect((await all.survey.ask('k')).map(({ held }) => held)).toEqual([1, 2]);
});

test('a survey about no key asks what the nodes are: each holds 0', async () => {
  const { survey, broadcasts } = surveyOf(() => 0);
  expect(await survey.ask()).toEqual([{ info: info('me'), held: 0 }]);
  expect(broadcasts[0]).toMatch(/^q me [0-9a-f]{12} $/);
});

test('a survey that cannot be sent is rejected', async () => {
  const { survey, replies } = surveyOf(() => {
    throw new Error('away');
  });
  await expect(survey.ask('k')).rejects.toThrow('away');
  replies('late');
});

test('nodes that hold nothing are listed as nodes, and not as waiting', () => {
  const replies = [
    { info: info('a'), held: 2 },
    { info: info('b'), held: 0 },
  ];
  expect(waitersIn(replies)).toEqual({ a: 2 });
  expect(nodesIn(replies)).toEqual([info('a'), info('b')]);
});

test('what is about keys goes to the node, and an unknown message nowhere', () => {
  const { hears, sent, survey, log } = surveyOf(() => 1);
  const entry = { value: '1', cursor: 'e-1', prev: '', final: false, at: undefined };
  hears({
    kind: 'entries',
    entries: [
      ['a', entry],
      ['b', entry],
    ],
  });
  hears({ kind: 'gap', key: 'c' });
  hears({ kind: 'receipt', key: 'd', position: 'e-1', state: 'proved' });
  hears({ kind: 'drop', key: 'e', name: 'tab', from: '192.0.2.1' });
  survey.receive(undefined);
  expect(log).toEqual([
    ['entry', 'a', entry],
    ['entry', 'b', entry],
    ['gap', 'c'],
    ['receipt', 'd', 'e-1', 'proved'],
    ['drop', 'e', 'tab', '192.0.2.1'],
  ]);
  expect([sent, survey.alive()]).toEqual([[], ['me']]);
});

test('a heartbeat names its node, its server and its number', () => {
  const { survey } = surveyOf(() => 1);
  expect([survey.heartbeat('3', 12), survey.heartbeat()]).toEqual(['b me 3 12', 'b me 0 0']);
});
