/** Reads Server-Sent Events (HTML Living Standard §9.2), as far as `GET /status/events` uses them. */

export interface ServerEvent {
  type: string;
  data: string;
  id: string;
  /** reconnection delay, ms; 0: not given */
  retry: number;
  /** the value is the last one of its key */
  final: boolean;
}

/**
 * The events of a response body.
 * @param onBytes called for each chunk, which may hold no event
 */
export async function* eventsOf(
  body: ReadableStream<Uint8Array>,
  onBytes: () => void,
): AsyncGenerator<ServerEvent, void> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let text = '';
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    onBytes();
    text += decoder.decode(value, { stream: true });
    const blocks = text.split('\n\n');
    text = blocks.pop() as string;
    for (const block of blocks) yield eventOf(block);
  }
}

function eventOf(block: string): ServerEvent {
  const fields = new Map<string, string>();
  for (const line of block.split('\n')) {
    const colon = line.indexOf(':');
    if (colon > 0) fields.set(line.slice(0, colon), line.slice(colon + 1).replace(/^ /, ''));
  }
  return {
    type: fields.get('event') ?? '',
    data: fields.get('data') ?? '',
    id: fields.get('id') ?? '',
    retry: Number(fields.get('retry') ?? 0),
    final: fields.get('final') === 'true',
  };
}
