// Free ports that can be asked, for servers of tests and of pages.

/** The highest port that `fetch` and browsers refuse ("bad port"), see https://fetch.spec.whatwg.org/#port-blocking. */
export const HIGHEST_REFUSED = 10_080;

/**
 * Listens on a free port that can be asked.
 * @param {import('node:net').Server} server
 * @param {string} [host] 127.0.0.1 if absent
 * @returns {Promise<number>} the port
 */
export async function listenOnFree(server, host = '127.0.0.1') {
  for (;;) {
    await new Promise((resolve, reject) => {
      server.once('error', reject);
      // more than Node's 511: a thousand clients connect at once
      server.listen({ port: 0, host, backlog: 4096 }, () => resolve(server.off('error', reject)));
    });
    const { port } = /** @type {import('node:net').AddressInfo} */ (server.address());
    if (port > HIGHEST_REFUSED) return port;
    await new Promise(closed => server.close(closed));
  }
}
