/** A request of a page or a backend, with an end to its patience. */
import { type Agent, request } from 'node:http';

export const pause = (ms: number) => new Promise<void>(resolve => setTimeout(resolve, ms));
export const clock = (ms: number) => `${(ms / 1000).toFixed(2)} s`;

/** Ends work after a while, or with another signal. AbortSignal.any of a timeout may be collected before it fires. */
export async function within<T>(
  ms: number,
  over: AbortSignal,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const control = new AbortController();
  const abort = () => control.abort();
  const timer = setTimeout(abort, ms);
  over.addEventListener('abort', abort);
  try {
    return await work(control.signal);
  } finally {
    clearTimeout(timer);
    over.removeEventListener('abort', abort);
    // also those polls of a repeated one that have no answer yet
    control.abort();
  }
}

interface Call {
  agent: Agent;
  signal: AbortSignal;
  /** JSON, to be posted; absent: a GET */
  body?: string;
}

/** One request for JSON. A tenth of the work of `fetch`, which would be most of what the machine does here. */
export function call<T>(url: string, { agent, signal, body }: Call): Promise<{ status: number; reply: T }> {
  return new Promise((resolve, reject) => {
    const method = body === undefined ? 'GET' : 'POST';
    const headers = body === undefined ? {} : { 'Content-Type': 'application/json' };
    const asked = request(url, { agent, signal, method, headers }, response => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', part => {
        text += part;
      });
      response.on('error', reject);
      response.on('end', () => {
        try {
          resolve({ status: response.statusCode ?? 0, reply: JSON.parse(text) as T });
        } catch (error) {
          reject(error as Error);
        }
      });
    });
    asked.on('error', reject);
    asked.end(body);
  });
}
