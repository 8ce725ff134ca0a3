/** The address at which a phone in the same network reaches this machine. */
import { networkInterfaces } from 'node:os';

const VIRTUAL = /^(docker|br-|veth|virbr|vmnet|vboxnet|utun|tun|tap|wg|tailscale|zt)/;
const LOOPBACK = /^(localhost|127(\.\d{1,3}){3}|\[?::1\]?)$/;

/** This machine's IPv4 address in its network; undefined if it has none. */
export function lanAddress(): string | undefined {
  const found = Object.entries(networkInterfaces()).flatMap(([name, addresses = []]) =>
    addresses
      .filter(({ family, internal }) => family === 'IPv4' && !internal)
      .map(({ address }) => ({ address, virtual: VIRTUAL.test(name) })),
  );
  return (found.find(({ virtual }) => !virtual) ?? found[0])?.address;
}

export const isLoopback = (host: string) => LOOPBACK.test(host);

/** The origin as a phone can reach it: on a phone, `localhost` would be the phone itself. */
export function originForPhones(origin: string, publicHost: string): string {
  const url = new URL(origin);
  const address = isLoopback(url.hostname) && !isLoopback(publicHost) ? lanAddress() : undefined;
  if (address !== undefined) url.hostname = address;
  return url.origin;
}
