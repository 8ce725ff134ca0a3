/** What must hold of every run, whatever failed in it. */
import { type Call, type Log, TTL } from './world.js';

/** How long a code is good for after an `approve`, ms. */
const CODE_LIFE = 60_000;
/** How long a call that nobody waits for any more may still change something, ms. */
const ECHO = 60_000;

type Check = (log: Log) => string | undefined | false;

const given = ({ calls }: Log, step: Call['step']) => calls.filter(call => call.step === step && call.given);
const isRight = (log: Log, { claim }: Call) =>
  claim?.visitor === 'visitor-one' && log.heard.some(({ code }) => code === claim.code);

const CHECKS: Record<string, Check> = {
  'nothing else goes wrong': ({ faults }) => faults[0],

  'a code is redeemed once': log => {
    const calls = given(log, 'redeem');
    const names = new Set(calls.map(({ claim }, index) => claim?.id ?? index));
    return names.size > 1 && `by ${[...names]}`;
  },

  'a code is redeemed by the visitor that the login was made for, with the right code': log =>
    given(log, 'redeem')
      .filter(call => !isRight(log, call))
      .map(({ claim }) => JSON.stringify(claim))[0],

  'redeem gives the user of the phone that approved': log => {
    for (const { given: got } of given(log, 'redeem')) {
      const { user, phone } = got as { user: string; phone: string };
      if (user !== `"user of ${phone}"`) return `${user} by ${phone}`;
      if (!log.calls.some(({ step, by }) => step === 'approve' && by === phone))
        return `${phone} did not approve`;
    }
    return undefined;
  },

  'a login is approved or denied, never both': log => {
    const states = log.heard.map(({ state }) => state);
    const yes = given(log, 'approve').length + given(log, 'redeem').length > 0 || states.includes('approved');
    const no = given(log, 'deny').length > 0 || states.includes('denied');
    return yes && no && 'both';
  },

  'one phone alone is answered': log => {
    const phones = new Set(
      log.calls.filter(({ by, given: got }) => got && by.startsWith('phone')).map(({ by }) => by),
    );
    return phones.size > 1 && [...phones].join();
  },

  'nothing is decided before a scan': log => {
    for (const { by, step, from } of [...given(log, 'approve'), ...given(log, 'deny')])
      if (!log.calls.some(scan => scan.step === 'scan' && scan.by === by && scan.from <= from + ECHO))
        return `${step} by ${by}`;
    return undefined;
  },

  'a login that is decided is not scanned again': log => {
    const decided = log.calls
      .filter(({ step, given: got }) => got && /approve|deny/.test(step))
      .map(({ at = 0 }) => at);
    const late = given(log, 'scan').find(({ from }) => from > Math.min(...decided));
    return late && `by ${late.by} at ${late.from - log.begun}`;
  },

  'nothing is scanned or decided for the first time after the end': log => {
    const end = log.begun + TTL * 1000;
    for (const step of ['scan', 'approve', 'deny'] as const)
      for (const { by } of given(log, step)) {
        const first = log.calls.find(call => call.step === step && call.by === by);
        // the login was begun a moment after it was asked for
        if (first && first.from > end + 5000) return `${step} by ${by} at ${first.from - log.begun}`;
      }
    return undefined;
  },

  'the page hears each step once, and nothing after the last': ({ heard }) => {
    const states = heard.map(({ state }) => state).join();
    return !/^(scanned)?,?(approved|denied)?$/.test(states) && states;
  },

  'what decides a login is the last value of its key': ({ heard }) =>
    heard.some(({ state, final }) => final !== (state !== 'scanned')) && JSON.stringify(heard),

  'a step that was answered is answered again': log => {
    for (const call of log.calls.filter(({ refused }) => refused && refused !== 'unknown')) {
      const { step, by, from } = call;
      const before = given(log, step).some(one => one.by === by && (one.at ?? 0) <= from);
      const decided =
        call.refused === 'decided' &&
        log.calls.some(one => /approve|deny/.test(one.step) && one.by === by && one.from <= (call.at ?? 0));
      if (before && step !== 'redeem' && !decided) return JSON.stringify(call);
    }
    return undefined;
  },

  'all codes are one': ({ heard }) =>
    new Set(heard.flatMap(({ code }) => code ?? [])).size > 1 && 'two codes',

  'what the phone was answered is what the page hears': log => {
    const { ticket, there, heard } = log;
    if (!ticket || !there) return undefined;
    for (const [step, state] of [
      ['scan', 'scanned'],
      ['approve', 'approved'],
      ['deny', 'denied'],
    ] as const) {
      const said = given(log, step).find(({ at = 0 }) => at < ticket.expires * 1000 - 2);
      // the last value ends the key: a scan that is delivered after it is not heard
      const heardIt = heard.some(value => value.state === state) || (step === 'scan' && heard.length > 0);
      if (said && !heardIt) return `${step} of ${said.by}; the page heard ${JSON.stringify(heard)}`;
    }
    return undefined;
  },

  'the right code is refused only when it was redeemed, or a minute after the last approve': log => {
    for (const call of log.calls.filter(one => one.step === 'redeem' && one.refused && isRight(log, one))) {
      const { refused, from, at = 0, claim } = call;
      const others = log.calls.filter(
        one => one.step === 'redeem' && one !== call && isRight(log, one) && one.from <= at,
      );
      const isOther = (one: Call) => claim?.id === undefined || one.claim?.id !== claim.id;
      if (refused === 'redeemed' && others.some(isOther)) continue;
      const good = given(log, 'approve').some(
        approve => (approve.at ?? 0) <= from && at <= approve.from + CODE_LIFE,
      );
      const known = refused === 'expired' || (refused === 'unknown' && at > log.begun + 2 * TTL * 1000);
      if (good || !known) return `${refused} at ${at - log.begun}: ${JSON.stringify(call)}`;
    }
    return undefined;
  },

  'a code is not redeemed long after the last approve': log => {
    const last = Math.max(...log.calls.filter(({ step }) => step === 'approve').map(({ from }) => from));
    const first = given(log, 'redeem').filter(call => {
      const tries = log.calls.filter(({ step, claim }) => step === 'redeem' && claim?.id === call.claim?.id);
      return Math.min(...tries.map(({ from }) => from)) > last + CODE_LIFE + ECHO;
    })[0];
    return first && `at ${first.from - log.begun}, approved at ${last - log.begun}`;
  },

  'a step that comes too late is refused with that reason': log => {
    const early = log.calls.find(
      ({ refused, at = 0 }) => refused === 'unknown' && at < log.begun + 2 * TTL * 1000,
    );
    return early && JSON.stringify(early);
  },
};

/** @returns the first thing that does not hold; undefined: all of it does */
export function faultOf(log: Log): string | undefined {
  for (const [name, check] of Object.entries(CHECKS)) {
    const fault = check(log);
    if (fault) return `${name}: ${fault}`;
  }
  return undefined;
}
