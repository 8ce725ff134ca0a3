/** Tests whether an address is loopback, for settings, Host headers and peer addresses. */

const LOOPBACK = /^(?:(?:::ffff:)?127(?:\.\d{1,3}){3}|::1|\[::1\]|localhost)$/i;

/** @param name a host name or address without a port */
export const isLoopback = (name: string): boolean => LOOPBACK.test(name);
