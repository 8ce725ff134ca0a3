import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** The files that take longest, the longest first; what is about time-outs not beside what needs most of the machine. One that is missing here costs time and nothing else. */
const LONG = [
  'browsers/matrix',
  'workers',
  'growth',
  'packaging',
  'chaos',
  'proxies',
  'faults',
  'ways',
  'demo',
  'behind',
  'breed',
  'browsers/hosts',
  'browsers/chromium',
  'topologies',
  'cli',
  'injected',
  'bundlers',
  'browsers/absence',
  'scan-login',
  'live',
  'login-model',
  'link',
  'login-box',
  'wire',
  'cost',
];

/** Starts the longest files first and the quick ones last, so that all workers end at about the same time. */
export default class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = ({ moduleId, project }: TestSpecification) => {
      const place = LONG.findIndex(name => moduleId.endsWith(`/test/${name}.test.ts`));
      if (place >= 0) return place;
      return project.name === 'quick' ? LONG.length + 1 : LONG.length;
    };
    return (await super.sort(files)).toSorted((one, other) => rank(one) - rank(other));
  }
}
