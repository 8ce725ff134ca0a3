/** The control of pairs.js: for each message, computes a fixed amount and replies with how long it took, ms. */
process.on('message', () => {
  const began = performance.now();
  let state = 1;
  for (let step = 0; step < 4e6; step++) state = (state * 1103515245 + 12345) % 2147483648;
  process.send(state < 0 ? 0 : performance.now() - began);
});
process.on('disconnect', () => process.exit());
