/** What must hold at every moment of a run. Each violation is reported with what led to it. */
import type { Reply } from '../harness.js';
import type { Stored } from './backend.js';
import { clock } from './call.js';
import type { Page, Poll } from './page.js';
import type { Node } from './world.js';

/** No page that is held is behind for longer, ms: the bound that the README states. */
export const BOUND = 15_000;
/** A node is ready again this long after its Redis can be reached, ms. */
export const READY = 10_000;
/** A set says `watched` of a node that died for at most so long, ms. */
export const DEAD = 10_000;
/**
 * Added to every bound, ms: ticks of these checks, a page's way, and two cores that run the nodes, Redis and the pages.
 * The longest delay of the run's own event loop is added too.
 */
export const MARGIN = 3000;
/** A set and a poll that begin within so many ms of each other count as simultaneous. */
const TOGETHER = 2000;

export const RULES = {
  behind: 'a held page is behind for longer than 15 s',
  notReady: 'a node is not ready 10 s after its Redis can be reached',
  wrongTimeout: '-1 while a newer value is acknowledged and known',
  watchedDead: 'watched is true for a node that died 10 s ago',
  unwatched: 'watched is false for a page that is held',
  unproved: 'received is true, and no page has polled after the value',
  unanswered: 'a poll is not answered at the end of its hold',
  notRecovered: 'a page has heard nothing 60 s after a fault',
} as const;
export type Rule = keyof typeof RULES;

export interface Violation {
  rule: Rule;
  at: number;
  text: string;
}

/** What the rules look at, besides a page and its poll. */
export interface Facts {
  now: number;
  /** the values of the page's key, in order */
  stored: readonly Stored[];
  /** Redis may have lost what was sent before; Infinity: it is losing values now */
  lostUntil: number;
  /** ms that this machine was late by */
  late: number;
}

/** The first value that a page lacks and that Redis has certainly kept. */
function missing({ number }: Pick<Page, 'number'>, { stored, lostUntil }: Facts): Stored | undefined {
  return stored.find(one => one.number > number && one.sent > lostUntil);
}

/** @returns since when a page lacks a value although nothing keeps it from its page; undefined: it is not behind */
export function behindSince(page: Page, facts: Facts): number | undefined {
  const first = missing(page, facts);
  if (!first || page.ended || !page.poll) return undefined;
  return Math.max(first.acknowledged, page.steadySince, page.poll.node.health.reachableSince);
}
export const isBehind = (page: Page, facts: Facts) => {
  const since = behindSince(page, facts);
  return since !== undefined && facts.now - since > BOUND + MARGIN + facts.late;
};

/** "Nothing new" of a value that was acknowledged before the poll began, by a node that has missed nothing. */
export function isWrongTimeout(poll: Poll, facts: Facts): boolean {
  const { reachableSince, missedAt } = poll.node.health;
  if (reachableSince > poll.at) return false;
  const certain = missedAt + BOUND + MARGIN + facts.late;
  const first = missing({ number: poll.seen }, facts);
  return first !== undefined && first.acknowledged < poll.at && first.sent > certain;
}

/** A set that found no watcher while a page was held all the time, on a node that has missed nothing. */
export function isUnwatched(page: Page, stored: Stored, facts: Facts): boolean {
  const { poll } = page;
  if (stored.watched !== false || !poll || stored.tries > 1) return false;
  const { reachableSince, missedAt } = poll.node.health;
  return (
    poll.at + TOGETHER + facts.late < stored.sent &&
    reachableSince < poll.at &&
    missedAt + BOUND + MARGIN + facts.late < poll.at
  );
}

/** A set that says `received`, and no page has asked again after it had the value. */
export function isUnproved(
  pages: readonly Pick<Page, 'heard' | 'proved'>[],
  { number, received }: Pick<Stored, 'number' | 'received'>,
): boolean {
  const proves = ({ heard, proved }: Pick<Page, 'heard' | 'proved'>) =>
    heard.slice(0, proved).some(one => one.number === number);
  return received === true && !pages.some(proves);
}

/** What a node's page meets that is no fault of the node: its time begins again. */
export function steadyAfter(
  page: Page,
  poll: Poll,
  end: string,
  reply: Reply | undefined,
  now: number,
): number {
  const { reachableSince } = poll.node.health;
  const since = Math.max(page.steadySince, Math.min(reachableSince, now));
  if (end === 'failed' || end === 'watchdog') return now;
  // for as long as a node may be without Redis, and no longer
  if (reply?.code === -7 && now - reachableSince < READY) return now;
  return since;
}

/** When a node must have been ready. */
export const notReady = (node: Node, askedAt: number, late: number) =>
  askedAt - Math.max(node.health.reachableSince, node.since) > READY + MARGIN + late;

/** The last faults, a key's history and a page's, as a violation shows them. */
export function story(
  timeline: readonly { at: number; text: string }[],
  key: string,
  stored: readonly Stored[],
  page: Page | undefined,
  start: number,
): string {
  const time = (at: number) => clock(at - start);
  const faults = timeline.slice(-12).map(({ at, text }) => `    ${time(at)} ${text}`);
  const sets = stored.slice(-12).map(({ number, tried, sent, acknowledged, tries, watched }) => {
    const first = tries > 1 ? `tried at ${time(tried)}, ` : '';
    return `    ${number}: ${first}sent at ${time(sent)}, acknowledged at ${time(acknowledged)}, watched ${watched}`;
  });
  const own = page
    ? [`  ${page.options.name}:`, ...page.log.map(({ at, text }) => `    ${time(at)} ${text}`)]
    : [];
  return ['  last faults:', ...faults, `  sets of ${key}:`, ...sets, ...own].join('\n');
}
