/*
 * A QR code, by ISO/IEC 18004: bytes, error correction M, versions 1 to 20 (at most 666 bytes), the best of the
 * eight masks. ES3, like every file here.
 */

/** Error correction bytes of a block, and blocks, by version from 1. */
var QR_ECC = [10, 16, 26, 18, 24, 16, 18, 22, 22, 26, 30, 22, 22, 24, 24, 28, 28, 26, 26, 26];
var QR_BLOCKS = [1, 1, 1, 2, 2, 4, 4, 4, 5, 5, 5, 8, 9, 9, 10, 10, 11, 13, 14, 16];

/** Bytes of a version, data and error correction together. */
function qrBytes(version) {
  var aligned = Math.floor(version / 7) + 2;
  var bits = (16 * version + 128) * version + 64;
  if (version > 1) bits -= (25 * aligned - 10) * aligned - 55;
  if (version > 6) bits -= 36;
  return bits >> 3;
}

/** The product of two elements of GF(256) with the polynomial 0x11d. */
function qrTimes(x, y) {
  for (var product = 0, i = 8; i--; )
    product = (product << 1) ^ ((product >> 7) * 285) ^ (((y >> i) & 1) * x);
  return product;
}

/** The error correction bytes of a block. */
function qrCorrect(block, degree) {
  var divisor = [1];
  var rest = block.concat();
  var i, j, factor;
  for (i = 0, factor = 1; i < degree; i++, factor = qrTimes(factor, 2))
    for (j = i + 1; j; j--) divisor[j] = (divisor[j] || 0) ^ qrTimes(divisor[j - 1], factor);
  for (i = 0; i < block.length; i++)
    for (j = 0, factor = rest[i]; j <= degree; j++) rest[i + j] ^= qrTimes(divisor[j], factor);
  return rest.slice(block.length);
}

/** The text as the data bytes of a version: mode, length, bytes, padding. */
function qrData(text, version, room) {
  var bits = '0100';
  var data = [];
  var i;
  function put(value, length) {
    while (length--) bits += (value >> length) & 1;
  }
  put(text.length, version > 9 ? 16 : 8);
  for (i = 0; i < text.length; i++) put(text.charCodeAt(i), 8);
  bits += '0000';
  var used = bits.length / 8;
  for (i = 0; i < room; i++)
    data[i] = i < used ? parseInt(bits.substr(i * 8, 8), 2) : (i - used) & 1 ? 17 : 236;
  return data;
}

/** Data and error correction, woven from the blocks. */
function qrWoven(text, version) {
  var count = QR_BLOCKS[version - 1];
  var degree = QR_ECC[version - 1];
  var all = qrBytes(version);
  var data = qrData(text, version, all - count * degree);
  var low = Math.floor(data.length / count);
  var blocks = [];
  var woven = [];
  var i, j, at;
  for (i = at = 0; i < count; i++) {
    j = low + (i >= count - (data.length % count) ? 1 : 0);
    blocks[i] = data.slice(at, at + j);
    at += j;
  }
  for (j = 0; j <= low; j++) for (i = 0; i < count; i++) if (j < blocks[i].length) woven.push(blocks[i][j]);
  for (i = 0; i < count; i++) blocks[i] = qrCorrect(blocks[i], degree);
  for (j = 0; j < degree; j++) for (i = 0; i < count; i++) woven.push(blocks[i][j]);
  return woven;
}

/** The bits with a BCH code behind them: format (0x537) and version (0x1f25). */
function qrBch(value, degree, polynomial) {
  for (var rest = value, i = degree; i--; ) rest = (rest << 1) ^ ((rest >> (degree - 1)) * polynomial);
  return (value << degree) | rest;
}

/** Draws what every code of a version has. @returns rows of 0, 1, and undefined where data goes */
function qrFrame(version) {
  var size = version * 4 + 17;
  var rows = [];
  var places = [];
  var last = Math.floor(version / 7) + 1;
  var step = Math.ceil((version * 4 + 4) / (last * 2)) * 2;
  var i, j, bits;
  /** A square of rings around x, y: dark but for one ring, or two. */
  function square(x, y, radius) {
    for (var dy = -radius; dy <= radius; dy++)
      for (var dx = -radius; dx <= radius; dx++) {
        var ring = Math.max(Math.abs(dx), Math.abs(dy));
        if (rows[y + dy] && x + dx >= 0 && x + dx < size)
          rows[y + dy][x + dx] = ring === radius / 2 || ring === 4 ? 0 : 1;
      }
  }
  for (i = 0; i < size; i++) rows[i] = new Array(size);
  for (i = 0; i < size; i++) rows[6][i] = rows[i][6] = 1 - (i & 1);
  if (version > 1) for (places[0] = 6, i = last; i > 0; i--) places[i] = size - 7 - (last - i) * step;
  for (i = 0; i < places.length; i++)
    for (j = 0; j < places.length; j++)
      if ((i || j) && (i || j < last) && (j || i < last)) square(places[i], places[j], 2);
  square(3, 3, 4);
  square(size - 4, 3, 4);
  square(3, size - 4, 4);
  bits = qrBch(version, 12, 7973);
  for (i = 0; version > 6 && i < 18; i++)
    rows[Math.floor(i / 3)][size - 11 + (i % 3)] = rows[size - 11 + (i % 3)][Math.floor(i / 3)] =
      (bits >> i) & 1;
  qrFormat(rows, 0);
  return rows;
}

/** Writes which mask it is, and that the error correction is M. */
function qrFormat(rows, mask) {
  var bits = qrBch(mask, 10, 1335) ^ 21522;
  var size = rows.length;
  for (var i = 0; i < 15; i++) {
    var bit = (bits >> i) & 1;
    rows[i < 6 ? i : i < 8 ? i + 1 : 8][i < 8 ? 8 : i < 9 ? 7 : 14 - i] = bit;
    if (i < 8) rows[8][size - 1 - i] = bit;
    else rows[size - 15 + i][8] = bit;
  }
  rows[size - 8][8] = 1;
}

/** @returns 1 for a module that the mask turns over */
function qrMasked(mask, x, y) {
  var both = ((x * y) % 2) + ((x * y) % 3);
  return +![
    (x + y) % 2,
    y % 2,
    x % 3,
    (x + y) % 3,
    (Math.floor(x / 3) + (y >> 1)) % 2,
    both,
    both % 2,
    (x + y + ((x * y) % 3)) % 2
  ][mask];
}

/** The code with a mask: zigzag from the right, two columns at a time, upwards first. */
function qrFill(version, woven, mask) {
  var rows = qrFrame(version);
  var size = rows.length;
  var at = 0;
  for (var right = size - 1; right > 0; right -= 2) {
    if (right === 6) right = 5;
    for (var i = 0; i < size * 2; i++) {
      var x = right - (i & 1);
      var y = (right + 1) & 2 ? i >> 1 : size - 1 - (i >> 1);
      if (rows[y][x] == null) {
        rows[y][x] = ((woven[at >> 3] >> (7 - (at & 7))) & 1) ^ qrMasked(mask, x, y);
        at++;
      }
    }
  }
  qrFormat(rows, mask);
  return rows;
}

/** How hard a code is to read: the four rules of the standard. */
function qrPenalty(rows) {
  var size = rows.length;
  var lines = [];
  var dark = 0;
  var penalty = 0;
  var x, y;
  for (y = 0; y < size; y++) {
    lines[y] = rows[y].join('');
    lines[size + y] = '';
    for (x = 0; x < size; x++) {
      lines[size + y] += rows[x][y];
      dark += rows[y][x];
      if (x && y && (rows[y][x] + rows[y - 1][x] + rows[y][x - 1] + rows[y - 1][x - 1]) % 4 < 1) penalty += 3;
    }
  }
  lines
    .join(' ')
    .replace(/0{5,}|1{5,}/g, function (run) {
      penalty += run.length - 2;
      return run;
    })
    .replace(/(?=10111010000|00001011101)/g, function () {
      penalty += 40;
      return '';
    });
  return penalty + Math.floor(Math.abs((dark * 20) / size / size - 10)) * 10;
}

/** @returns the modules of a code, rows of 0 and 1, without the quiet zone; undefined for a text that is too long */
function qr(text) {
  var version = 1;
  var least = 1 / 0;
  var best;
  text = unescape(encodeURIComponent(text));
  while (
    version < 21 &&
    text.length + (version > 9 ? 3 : 2) > qrBytes(version) - QR_ECC[version - 1] * QR_BLOCKS[version - 1]
  )
    version++;
  if (version > 20) return;
  var woven = qrWoven(text, version);
  for (var mask = 0; mask < 8; mask++) {
    var rows = qrFill(version, woven, mask);
    var penalty = qrPenalty(rows);
    if (penalty < least) {
      least = penalty;
      best = rows;
    }
  }
  return best;
}
