/** Reads the QR code of a page, as a phone's camera does. */
import { createRequire } from 'node:module';
import type { Page } from 'playwright-core';

// CommonJS whose types say ESM
const read = createRequire(import.meta.url)('jsqr') as typeof import('jsqr').default;
/** Pixels per module, and modules of the quiet zone. */
const SCALE = 4;
const QUIET = 4;

/** @param rows of 0 and 1 @returns the text, or that there is none */
export function readModules(rows: number[][]): string {
  const side = (rows.length + 2 * QUIET) * SCALE;
  const pixels = new Uint8ClampedArray(side * side * 4).fill(255);
  for (let y = 0; y < side; y++)
    for (let x = 0; x < side; x++) {
      const dark = rows[Math.floor(y / SCALE) - QUIET]?.[Math.floor(x / SCALE) - QUIET];
      if (dark) pixels.fill(0, (y * side + x) * 4, (y * side + x) * 4 + 3);
    }
  return read(pixels, side, side)?.data ?? 'not a code';
}

/** @param selector of the code's SVG */
export async function readSvg(page: Page, selector: string): Promise<string> {
  const side = 260;
  const pixels = await page.evaluate(
    async ([selector, side]) => {
      const svg = document.querySelector(selector) as SVGElement;
      const text = new XMLSerializer()
        .serializeToString(svg)
        .replace('<svg', '<svg width="500" height="500" color="#000"');
      const image = new Image();
      await new Promise(resolve => {
        image.onload = resolve;
        image.src = `data:image/svg+xml,${encodeURIComponent(text)}`;
      });
      const canvas = Object.assign(document.createElement('canvas'), { width: side, height: side });
      const context = canvas.getContext('2d') as CanvasRenderingContext2D;
      context.fillStyle = '#fff';
      context.fillRect(0, 0, side, side);
      context.drawImage(image, 20, 20, side - 40, side - 40);
      let dark = '';
      const { data } = context.getImageData(0, 0, side, side);
      for (let red = 0; red < data.length; red += 4) dark += (data[red] as number) < 128 ? '#' : '.';
      return dark;
    },
    [selector, side] as const,
  );
  const rgba = Uint8ClampedArray.from(
    [...pixels].flatMap(dot => (dot === '#' ? [0, 0, 0, 255] : [255, 255, 255, 255])),
  );
  return read(rgba, side, side)?.data ?? 'not a code';
}
