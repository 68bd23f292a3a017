/**
 * Conversions between IEEE 754 binary32 and the two 16-bit formats of checkpoints: binary16 ("F16") and bfloat16
 * ("BF16", the upper half of a binary32). Narrowing rounds to nearest, ties to even, as PyTorch does.
 */

/** Widens binary16 bit patterns to float32, exactly. Writes `halves.length` values into `out` from `outOffset`. */
export function widenFloat16(halves: Uint16Array, out: Float32Array, outOffset = 0): void {
  const bits = new Uint32Array(out.buffer, out.byteOffset, out.length);
  for (let i = 0; i < halves.length; i++) {
    const half = halves[i];
    const sign = (half & 0x8000) << 16;
    const exponent = (half >>> 10) & 0x1f;
    const mantissa = half & 0x3ff;
    if (exponent === 0) {
      // Zero and subnormals: mantissa · 2⁻²⁴, which binary32 holds exactly.
      out[outOffset + i] = (sign ? -1 : 1) * mantissa * 2 ** -24;
    } else if (exponent === 0x1f) {
      bits[outOffset + i] = sign | 0x7f800000 | (mantissa << 13);
    } else {
      bits[outOffset + i] = sign | ((exponent + 112) << 23) | (mantissa << 13);
    }
  }
}

/** Widens bfloat16 bit patterns to float32, exactly. Writes `halves.length` values into `out` from `outOffset`. */
export function widenBfloat16(halves: Uint16Array, out: Float32Array, outOffset = 0): void {
  const bits = new Uint32Array(out.buffer, out.byteOffset, out.length);
  for (let i = 0; i < halves.length; i++) bits[outOffset + i] = halves[i] << 16;
}

/** Rounds float32 values to binary16 bit patterns; values of 65520 and above become infinite, NaN stays NaN. */
export function narrowToFloat16(values: Float32Array): Uint16Array {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const halves = new Uint16Array(values.length);
  for (let i = 0; i < values.length; i++) halves[i] = float16Bits(bits[i]);
  return halves;
}

/** Rounds float32 values to bfloat16 bit patterns; NaN stays NaN. */
export function narrowToBfloat16(values: Float32Array): Uint16Array {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const halves = new Uint16Array(values.length);
  for (let i = 0; i < values.length; i++) {
    const x = bits[i];
    const isNaN = (x & 0x7fffffff) > 0x7f800000;
    // The rounding carry of a NaN could overflow into infinity, so its quiet bit is set instead.
    halves[i] = isNaN ? (x >>> 16) | 0x40 : (x + 0x7fff + ((x >>> 16) & 1)) >>> 16;
  }
  return halves;
}

/** Index of the first NaN or infinity in `values`, or -1 when all are finite. */
export function firstNonFinite(values: Float32Array): number {
  for (let i = 0; i < values.length; i++) if (!Number.isFinite(values[i])) return i;
  return -1;
}

function float16Bits(x: number): number {
  const sign = (x >>> 16) & 0x8000;
  const magnitude = x & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00;
  if (magnitude >= 0x477ff000) return sign | 0x7c00;
  if (magnitude >= 0x38800000) {
    return sign | ((magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1)) >>> 13);
  }
  const exponent = magnitude >>> 23;
  if (exponent < 102) return sign;
  const significand = (magnitude & 0x7fffff) | 0x800000;
  const shift = 126 - exponent;
  const kept = significand >>> shift;
  const rest = significand & ((1 << shift) - 1);
  const half = 1 << (shift - 1);
  return sign | (kept + (rest > half || (rest === half && (kept & 1) === 1) ? 1 : 0));
}
