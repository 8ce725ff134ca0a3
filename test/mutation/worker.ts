/** In vitest's worker thread: runs chosen tests for one mutant after the other, without a new import of the code. */
import { BroadcastChannel } from 'node:worker_threads';
import { type File, type Suite, startTests, type Test } from '@vitest/runner';
import { TestRunner } from 'vitest';

/** A request of the plugin. Files are absolute paths, tests are `file#name`. */
export type Request =
  | { id: number; do: 'measure'; files: string[] }
  | {
      id: number;
      do: 'try';
      mutant?: string | undefined;
      tests: string[];
      reload: boolean;
      hitLimit?: number | undefined;
    };
/** One test that ran. */
export interface Outcome {
  id: string;
  file: string;
  state: 'pass' | 'fail';
  ms: number;
  message?: string | undefined;
}
type Hits = Record<string, number>;
export interface Reply {
  id: number;
  outcomes: Outcome[];
  hits: number;
  coverage?: { static: Hits; perTest: Record<string, Hits> };
}
/** Stryker's instrumented code reads and writes this. */
interface Instrumented {
  activeMutant?: string | undefined;
  currentTestId?: string | undefined;
  hitCount?: number | undefined;
  hitLimit?: number | undefined;
  mutantCoverage?: { static: Hits; perTest: Record<string, Hits> };
}

/** The code keeps the first object that it finds, so that this one is emptied and never replaced. */
const met: Record<string, Hits> = {};
const stryker: Instrumented = { mutantCoverage: { static: {}, perTest: met } };
Object.assign(globalThis, { __stryker__: stryker });

/** A test that takes longer than this and four times its usual time has noticed the mutant. Milliseconds. */
const PATIENCE = 2500;
/** Tests may replace the timers. */
const { setTimeout, clearTimeout } = globalThis;
const nothing = () => undefined;

/** Vitest's own state of this thread; its type hides it. */
interface State {
  current: unknown;
  filepath: string;
  evaluatedModules: {
    idToModuleMap: Map<string, object>;
    getModuleById(id: string): object | undefined;
    invalidateModule(module: object): void;
  };
}

export default class Worker extends TestRunner {
  #hosting = false;
  /** all tests when undefined */
  #chosen: Set<string> | undefined;
  #trying = false;
  #failed = false;
  #reloaded = false;
  #usual = new Map<string, number>();
  readonly #state = (this as unknown as { workerState: State }).workerState;

  override async onAfterRunFiles(): Promise<void> {
    super.onAfterRunFiles();
    if (this.#hosting) return;
    this.#hosting = true;
    // what runs from here on is not for vitest's report
    Object.assign(this, {
      onTaskUpdate: nothing,
      onTestAnnotate: nothing,
      onTestArtifactRecord: nothing,
      onAfterRunFiles: nothing,
      onCollected: (files: File[]) => this.#choose(files),
      onCollectStart: (file: File) => {
        this.#state.current = file;
      },
    });
    const channel = new BroadcastChannel(`tagwait-mutation-${process.pid}`);
    let last = Promise.resolve();
    channel.onmessage = message => {
      const request = (message as unknown as { data: Request }).data;
      if (!('do' in request)) return;
      last = last.then(async () =>
        channel.postMessage(
          request.do === 'measure' ? await this.#measure(request) : await this.#try(request),
        ),
      );
    };
    channel.postMessage({ ready: true });
    await new Promise(nothing);
  }

  override async onBeforeRunTask(test: Test): Promise<void> {
    if (this.#failed) test.mode = 'skip';
    stryker.currentTestId = idOf(test);
    await super.onBeforeRunTask(test);
  }

  override onAfterRunTask(test: Test): void {
    stryker.currentTestId = outside(test.file.filepath);
    if (this.#trying && test.result?.state === 'fail') this.#failed = true;
    super.onAfterRunTask(test);
  }

  async runTask(test: Test): Promise<void> {
    const run = TestRunner.getTestFn(test);
    if (!this.#trying) return run();
    let timer: NodeJS.Timeout | undefined;
    const limit = PATIENCE + 4 * (this.#usual.get(idOf(test)) ?? 1000);
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(`the test takes longer than ${limit} ms`)), limit);
    });
    await Promise.race([run(), late]).finally(() => clearTimeout(timer));
  }

  /** Runs every test without a mutant. @returns which mutants each test meets, and which an import alone meets */
  async #measure({ id, files }: Request & { do: 'measure' }): Promise<Reply> {
    this.#trying = false;
    this.#chosen = new Set();
    const first = await this.#cover(files);
    const again = await this.#cover(files);
    this.#chosen = undefined;
    const { outcomes, perTest } = await this.#cover(files);
    for (const { id: test, ms } of outcomes) this.#usual.set(test, ms);
    const statics: Hits = {};
    for (const [place, hits] of Object.entries(first.perTest))
      for (const [mutant, count] of Object.entries(hits))
        if (count > (again.perTest[place]?.[mutant] ?? 0)) statics[mutant] = count;
    return { id, outcomes, hits: 0, coverage: { static: statics, perTest: spread(perTest, outcomes) } };
  }

  async #cover(files: string[]) {
    for (const key of Object.keys(met)) delete met[key];
    const outcomes = await this.#run(files);
    return { outcomes, perTest: structuredClone(met) };
  }

  /** Runs tests until one fails, with a mutant, or without one to see that they pass. */
  async #try({ id, mutant, tests, reload, hitLimit }: Request & { do: 'try' }): Promise<Reply> {
    this.#trying = true;
    this.#chosen = new Set(tests);
    if (reload || this.#reloaded) this.#forget();
    this.#reloaded = reload;
    Object.assign(stryker, { activeMutant: mutant, hitCount: 0, hitLimit });
    const outcomes = await this.#run([...new Set(tests.map(test => test.slice(0, test.indexOf('#'))))]);
    const hits = stryker.hitCount ?? 0;
    Object.assign(stryker, { activeMutant: undefined, hitCount: undefined, hitLimit: undefined });
    return { id, outcomes, hits };
  }

  async #run(files: string[]): Promise<Outcome[]> {
    this.#failed = false;
    const outcomes: Outcome[] = [];
    for (const file of files) {
      const module = this.#state.evaluatedModules.getModuleById(file);
      if (module) this.#state.evaluatedModules.invalidateModule(module);
      this.#state.filepath = file;
      stryker.currentTestId = outside(file);
      for (const done of await startTests([file], this)) outcomes.push(...outcomesOf(done));
      if (this.#trying && outcomes.some(outcome => outcome.state === 'fail')) break;
    }
    return outcomes;
  }

  /** Leaves out what was not asked for, so that no hook of it runs. */
  #choose(files: readonly (File | Suite)[]): void {
    const chosen = this.#chosen;
    if (!chosen) return;
    const keep = (task: File | Suite | Test): boolean => {
      const kept = task.type === 'test' ? chosen.has(idOf(task)) : task.tasks.filter(keep).length > 0;
      if (!kept) task.mode = 'skip';
      return kept;
    };
    files.forEach(keep);
  }

  /** The next import evaluates our files again: what they do while they are imported can be mutated too. */
  #forget(): void {
    for (const [path, module] of this.#state.evaluatedModules.idToModuleMap)
      if (!path.includes('node_modules') && path.startsWith(process.cwd()))
        Object.assign(module, { promise: undefined, exports: undefined, evaluated: false });
  }
}

/** The place of what runs outside of a test: an import, a `beforeAll`. */
const outside = (file: string) => `${file}#`;

function idOf(test: Test): string {
  const names = [test.name];
  for (let suite = test.suite; suite; suite = suite.suite) names.unshift(suite.name);
  return `${test.file.filepath}#${names.join(' > ')}`;
}

function outcomesOf(task: File | Suite | Test): Outcome[] {
  const { result } = task;
  const own = {
    id: task.type === 'test' ? idOf(task) : outside(task.file.filepath),
    file: task.file.filepath,
    ms: result?.duration ?? 0,
  };
  const message = result?.errors?.[0]?.message;
  if (task.type === 'test') {
    if (result?.state === 'pass' || result?.state === 'fail')
      return [{ ...own, state: result.state, message }];
    return [];
  }
  const inner = task.tasks.flatMap(inside => outcomesOf(inside as Suite | Test));
  // a hook or an import
  if (message !== undefined) inner.push({ ...own, state: 'fail', message });
  return inner;
}

/** What runs outside of a file's tests counts for each of them. */
function spread(perTest: Record<string, Hits>, outcomes: Outcome[]): Record<string, Hits> {
  return Object.fromEntries(
    outcomes.map(({ id, file }) => [id, { ...perTest[outside(file)], ...perTest[id] }]),
  );
}
