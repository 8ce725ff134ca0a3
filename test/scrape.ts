/** A scrape, as Prometheus reads it. */

export type Samples = Map<string, number>;
/** Sample lines by their name and labels, as they stand. */
export async function scrape(internalUrl: string): Promise<Samples> {
  const text = await (await fetch(`${internalUrl}/metrics`)).text();
  const lines = text.split('\n').filter(line => line !== '' && !line.startsWith('#'));
  return new Map(
    lines.map(line => {
      const gap = line.lastIndexOf(' ');
      return [line.slice(0, gap), Number(line.slice(gap + 1))];
    }),
  );
}
