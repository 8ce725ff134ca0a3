/** Waits for a condition. @param within timeout, ms @param every interval of checks, ms @returns the first truthy result */
export async function until(condition, what = String(condition), { within = 15_000, every = 20 } = {}) {
  const end = performance.now() + within;
  for (;;) {
    const result = await condition();
    if (result) return result;
    if (performance.now() > end) throw new Error(`not so within ${within} ms: ${what}`);
    await new Promise(resolve => setTimeout(resolve, every));
  }
}
