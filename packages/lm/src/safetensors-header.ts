import { LmError } from './lm-error.js';

/** Bytes of one element of each type a safetensors header may name. */
const elementBytes = {
  BOOL: 1,
  U8: 1,
  I8: 1,
  F8_E5M2: 1,
  F8_E4M3: 1,
  U16: 2,
  I16: 2,
  F16: 2,
  BF16: 2,
  U32: 4,
  I32: 4,
  F32: 4,
  U64: 8,
  I64: 8,
  F64: 8,
} as const;

/** Element types of the format, as its header spells them. */
export type SafetensorsDtype = keyof typeof elementBytes;

/** One tensor of a safetensors header. `byteOffset` counts from the start of the data, after the header. */
export interface TensorEntry {
  readonly dtype: SafetensorsDtype;
  readonly shape: readonly number[];
  readonly byteOffset: number;
  readonly byteLength: number;
}

/** The reference implementation's limit on the JSON header. */
export const maxHeaderBytes = 100_000_000;

/**
 * Parses and checks a safetensors header: known types, shapes that fill their byte ranges, ranges that cover the
 * `dataBytes` after the header without overlap or gap.
 * @throws LmError `SAFETENSORS_INVALID`, or `SAFETENSORS_TRUNCATED` when the header describes more data than there is.
 */
export function parseHeader(label: string, bytes: Uint8Array, dataBytes: number) {
  const { __metadata__: metadata = {}, ...rawEntries } = parseJson(label, bytes);
  if (!isRecord(metadata) || !Object.values(metadata).every((value) => typeof value === 'string')) {
    throw invalid(label, 'its "__metadata__" is not a map of strings');
  }
  const entries = Object.entries(rawEntries).map(
    ([name, raw]) => [name, parseEntry(label, name, raw)] as const,
  );
  entries.sort(([, a], [, b]) => a.byteOffset - b.byteOffset || a.byteLength - b.byteLength);
  checkLayout(label, entries, dataBytes);
  return { metadata: Object.freeze(metadata as Record<string, string>), entries: new Map(entries) };
}

function parseJson(label: string, bytes: Uint8Array): Record<string, unknown> {
  let header: unknown;
  try {
    header = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (cause) {
    throw invalid(label, 'its header is not JSON', cause);
  }
  if (!isRecord(header)) throw invalid(label, 'its header is not a JSON object');
  return header;
}

function parseEntry(label: string, name: string, raw: unknown): TensorEntry {
  const { dtype, shape, data_offsets: offsets } = isRecord(raw) ? raw : {};
  if (typeof dtype !== 'string' || !Object.hasOwn(elementBytes, dtype)) {
    throw invalid(label, `tensor "${name}" has the unknown type ${JSON.stringify(dtype)}`);
  }
  if (!isSizes(shape)) throw invalid(label, `tensor "${name}" has the shape ${JSON.stringify(shape)}`);
  if (!isSizes(offsets) || offsets.length !== 2 || offsets[0] > offsets[1]) {
    throw invalid(label, `tensor "${name}" has the offsets ${JSON.stringify(offsets)}`);
  }
  const [begin, end] = offsets;
  const known = dtype as SafetensorsDtype;
  const expectedBytes = shape.reduce((product, size) => product * size, 1) * elementBytes[known];
  if (end - begin !== expectedBytes) {
    throw invalid(
      label,
      `tensor "${name}" (${dtype} [${shape.join(', ')}]) needs ${expectedBytes} bytes, its offsets give ${end - begin}`,
    );
  }
  return Object.freeze({
    dtype: known,
    shape: Object.freeze(shape),
    byteOffset: begin,
    byteLength: end - begin,
  });
}

function checkLayout(
  label: string,
  entries: readonly (readonly [string, TensorEntry])[],
  dataBytes: number,
): void {
  let position = 0;
  let previous = 'the header';
  for (const [name, entry] of entries) {
    if (entry.byteOffset < position) throw invalid(label, `tensor "${name}" overlaps ${previous}`);
    if (entry.byteOffset > position) {
      throw invalid(label, `there are ${entry.byteOffset - position} unused bytes before tensor "${name}"`);
    }
    position += entry.byteLength;
    previous = `tensor "${name}"`;
    if (position > dataBytes) {
      throw new LmError(
        'SAFETENSORS_TRUNCATED',
        `${label} is truncated: tensor "${name}" ends at byte ${position} of the data, the file has ${dataBytes}. ` +
          'Download or copy it again.',
        { details: { file: label, tensor: name, expectedBytes: position, actualBytes: dataBytes } },
      );
    }
  }
  if (position < dataBytes) throw invalid(label, `${dataBytes - position} bytes follow its last tensor`);
}

function invalid(label: string, problem: string, cause?: unknown): LmError {
  return new LmError(
    'SAFETENSORS_INVALID',
    `${label} is not a valid safetensors file: ${problem}. Download or save it again.`,
    { details: { file: label }, cause },
  );
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isSizes(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((size) => Number.isSafeInteger(size) && (size as number) >= 0);
}
