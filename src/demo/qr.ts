/** The QR code as an SVG of our own look: one path, so that no hairlines show between its squares. */
import { encode } from 'uqr';

/** The three big squares in the corners, 7 modules wide. */
const eye = (x: number, y: number) =>
  `<rect x="${x + 0.5}" y="${y + 0.5}" width="6" height="6" rx="1.6" fill="none" stroke="currentColor"/>` +
  `<rect x="${x + 2}" y="${y + 2}" width="3" height="3" rx="0.9" fill="currentColor"/>`;

export function qrCode(text: string): string {
  const { data, size } = encode(text, { ecc: 'M', border: 0 });
  const inEye = (x: number, y: number) => (x < 7 && (y < 7 || y >= size - 7)) || (x >= size - 7 && y < 7);
  const path = data
    .flatMap((row, y) => row.map((dark, x) => (dark && !inEye(x, y) ? `M${x} ${y}h1v1h-1z` : '')))
    .join('');
  const eyes = eye(0, 0) + eye(size - 7, 0) + eye(0, size - 7);
  return (
    `<svg viewBox="0 0 ${size} ${size}" role="img" aria-label="QR code: opens the confirmation on your phone">` +
    `<path d="${path}" fill="currentColor"/>${eyes}</svg>`
  );
}
