import type { Middleware } from 'koa';

export interface DemoOptions {
  /** the internal port, where it sets as any backend would */
  internalUrl: string;
  /** a set token, when they are asked for */
  token: string | undefined;
  /** whether pages need tickets */
  ticketed: boolean;
}

export function demoRoutes(_options: DemoOptions): Middleware {
  return (_, next) => next();
}
