/** Reads PNG screenshots and writes an animated PNG with a palette. Each frame stores only what differs from the last. */
import { crc32, deflateSync, inflateSync } from 'node:zlib';

const SIGNATURE = Buffer.from('89504e470d0a1a0a', 'hex');
const COLOURS = 256;
/** Bytes of a pixel by the colour type of a PNG: RGB and RGBA. */
const BYTES = { 2: 3, 6: 4 };

const u32 = number => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(number);
  return bytes;
};
const u16 = number => [number >> 8, number & 255];

function chunk(type, ...parts) {
  const body = Buffer.concat([Buffer.from(type), ...parts.map(part => Buffer.from(part))]);
  return Buffer.concat([u32(body.length - 4), body, u32(crc32(body))]);
}

/** @param frames `{ png, ms }`: screenshots of one size, and how long each is shown @returns the file; it repeats for ever */
export function apng(frames) {
  const shots = frames.map(({ png }) => decode(png));
  const [{ width, height }] = shots;
  const { colours, indexOf } = paletteOf(shots.map(shot => shot.pixels));
  const indexed = shots.map(({ pixels }) => pixels.map(indexOf));
  const chunks = [
    chunk('IHDR', u32(width), u32(height), [8, 3, 0, 0, 0]),
    chunk('acTL', u32(frames.length), u32(0)),
    chunk('PLTE', colours.flat()),
  ];
  let sequence = 0;
  for (const [number, pixels] of indexed.entries()) {
    const area = changed(indexed[number - 1], pixels, width, height);
    const place = [area.width, area.height, area.x, area.y].map(u32);
    const delay = [...u16(frames[number].ms), ...u16(1000)];
    chunks.push(chunk('fcTL', u32(sequence++), ...place, delay, [0, 0]));
    const data = deflateSync(cut(pixels, width, area), { level: 9 });
    chunks.push(number === 0 ? chunk('IDAT', data) : chunk('fdAT', u32(sequence++), data));
  }
  return Buffer.concat([SIGNATURE, ...chunks, chunk('IEND')]);
}

/** @returns each pixel as 15 bits: five of red, of green and of blue */
function decode(png) {
  const width = png.readUInt32BE(16);
  const height = png.readUInt32BE(20);
  const size = BYTES[png[25]];
  const bytes = unfilter(inflateSync(dataOf(png)), width * size, size);
  const pixels = new Uint16Array(width * height);
  for (let at = 0; at < pixels.length; at++) {
    const [red, green, blue] = bytes.subarray(at * size);
    pixels[at] = ((red >> 3) << 10) | ((green >> 3) << 5) | (blue >> 3);
  }
  return { width, height, pixels };
}

function dataOf(png) {
  const parts = [];
  for (let at = SIGNATURE.length; at < png.length; ) {
    const length = png.readUInt32BE(at);
    if (png.toString('latin1', at + 4, at + 8) === 'IDAT') parts.push(png.subarray(at + 8, at + 8 + length));
    at += length + 12;
  }
  return Buffer.concat(parts);
}

/** Undoes the filter of each row: none, left, above, average, Paeth. */
function unfilter(data, stride, size) {
  const rows = data.length / (stride + 1);
  const bytes = Buffer.alloc(rows * stride);
  for (let row = 0; row < rows; row++) {
    const filter = data[row * (stride + 1)];
    for (let column = 0; column < stride; column++) {
      const at = row * stride + column;
      const left = column >= size ? bytes[at - size] : 0;
      const above = row > 0 ? bytes[at - stride] : 0;
      const corner = column >= size && row > 0 ? bytes[at - stride - size] : 0;
      const guess = [0, left, above, (left + above) >> 1, paeth(left, above, corner)][filter];
      bytes[at] = data[row * (stride + 1) + 1 + column] + guess;
    }
  }
  return bytes;
}

function paeth(left, above, corner) {
  const guess = left + above - corner;
  const byDistance = [left, above, corner].map(one => Math.abs(guess - one));
  const least = Math.min(...byDistance);
  return [left, above, corner][byDistance.indexOf(least)];
}

/** The most frequent colours. A colour that is not among them becomes the nearest one. */
function paletteOf(all) {
  const counts = new Map();
  for (const pixels of all) for (const pixel of pixels) counts.set(pixel, (counts.get(pixel) ?? 0) + 1);
  const kept = [...counts].sort((a, b) => b[1] - a[1]).map(([pixel]) => pixel);
  const colours = kept.slice(0, COLOURS).map(parts);
  const known = new Map();
  const indexOf = pixel => {
    if (!known.has(pixel)) known.set(pixel, nearest(colours, parts(pixel)));
    return known.get(pixel);
  };
  return { colours, indexOf };
}
const parts = pixel => [10, 5, 0].map(shift => Math.round((((pixel >> shift) & 31) * 255) / 31));

function nearest(colours, wanted) {
  const distance = colour => colour.reduce((sum, part, at) => sum + (part - wanted[at]) ** 2, 0);
  const distances = colours.map(distance);
  return distances.indexOf(Math.min(...distances));
}

/** The smallest rectangle that holds every changed pixel; without a frame before, all of it. */
function changed(before, pixels, width, height) {
  if (!before) return { x: 0, y: 0, width, height };
  let [left, top, right, bottom] = [width - 1, height - 1, 0, 0];
  for (const [at, pixel] of pixels.entries()) {
    if (pixel === before[at]) continue;
    const [x, y] = [at % width, Math.floor(at / width)];
    [left, right, top, bottom] = [
      Math.min(left, x),
      Math.max(right, x),
      Math.min(top, y),
      Math.max(bottom, y),
    ];
  }
  return { x: left, y: top, width: Math.max(1, right - left + 1), height: Math.max(1, bottom - top + 1) };
}

/** The rows of a rectangle, each after a byte that says "no filter". */
function cut(pixels, stride, { x, y, width, height }) {
  const rows = Buffer.alloc((width + 1) * height);
  for (let row = 0; row < height; row++) {
    const from = (y + row) * stride + x;
    rows.set(pixels.subarray(from, from + width), row * (width + 1) + 1);
  }
  return rows;
}
