/** Draws two bar charts as SVG: memory per held request and CPU time per answer. */
import { median } from './statistics.js';

const WIDTH = 940;
const ROW = 28;
const STYLE = `text{fill:#24292f}.ours{fill:#2f6fde}.other{fill:#9aa3ad}.ground{fill:#fff}
@media (prefers-color-scheme:dark){text{fill:#e6edf3}.ours{fill:#6ea8fe}.other{fill:#6b7480}.ground{fill:#0d1117}}`;

/** @param ours the row in the first colour; all others have the second one */
export function plot(figures, ours, names) {
  const height = 84 + names.length * ROW;
  const parts = [
    ...bars('Memory per held request, KiB', 20, names, ours, name => median(figures[name].rss10000)),
    ...bars('CPU time per answer, µs', 490, names, ours, name => median(figures[name].cpu)),
  ];
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" font-family="system-ui, sans-serif" font-size="13">
<title>Memory per held request and CPU time per answer; less is better</title>
<style>${STYLE}</style>
<rect class="ground" width="${WIDTH}" height="${height}" rx="8"/>
${parts.join('\n')}
<text x="20" y="${height - 12}" font-size="12">10,000 held requests, one process on one core. Less is better.</text>
</svg>
`;
}

function bars(title, x, names, ours, value) {
  const longest = Math.max(...names.map(value));
  const parts = [`<text x="${x}" y="30" font-weight="600">${title}</text>`];
  for (const [index, name] of names.entries()) {
    const top = 46 + index * ROW;
    const width = Math.max(2, Math.round((value(name) / longest) * 240));
    const mine = name === ours;
    parts.push(
      `<text x="${x}" y="${top + 14}"${mine ? ' font-weight="600"' : ''}>${short(name)}</text>`,
      `<rect class="${mine ? 'ours' : 'other'}" x="${x + 118}" y="${top}" width="${width}" height="18" rx="2"/>`,
      `<text x="${x + 126 + width}" y="${top + 14}">${Number(value(name).toPrecision(3))}</text>`,
    );
  }
  return parts;
}

/** "Faye 1.4 callback-polling" -> "Faye 1.4" */
const short = name => name.replace(/,.*| callback-polling| JSONP polling/g, '');
