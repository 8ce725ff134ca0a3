/** Waits for a condition: the first truthy result. @param within ms, then it throws @param every ms between two looks */
export async function until(condition, what = String(condition), { within = 15_000, every = 20 } = {}) {
  const end = performance.now() + within;
  for (;;) {
    const result = await condition();
    if (result) return result;
    if (performance.now() > end) throw new Error(`not so within ${within} ms: ${what}`);
    await new Promise(resolve => setTimeout(resolve, every));
  }
}
