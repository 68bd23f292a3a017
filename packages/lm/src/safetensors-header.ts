import { createHeaderScanner } from './header-scanner.js';
import type { HeaderScanner } from './header-scanner.js';
import { LmError } from './lm-error.js';
import { preview } from './preview.js';

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

/** More than any published file has; what is kept of a tensor's entry takes several times its text in memory. */
const maxTensors = 1 << 16;
const maxMetadata = 4096;
const maxDtypeBytes = 64;
const maxMetadataBytes = 8 << 20;
/** PyTorch's own limit. */
const maxDimensions = 64;

/**
 * Parses and checks a safetensors header: known types, shapes that fill their byte ranges, ranges that cover the
 * `dataBytes` after the header without overlap or gap.
 * @throws LmError `SAFETENSORS_INVALID`, or `SAFETENSORS_TRUNCATED` when the header describes more data than there is.
 */
export function parseHeader(label: string, bytes: Uint8Array, dataBytes: number) {
  const scanner = createHeaderScanner(bytes, (problem, cause) => invalid(label, problem, { cause }));
  if (!scanner.atObject()) throw invalid(label, 'its header is not JSON, or not a JSON object');
  const metadata: [string, string][] = [];
  const entries: [string, TensorEntry][] = [];
  scanner.object((name) => {
    if (name === '__metadata__') return readMetadata(label, scanner, metadata);
    if (entries.length === maxTensors) throw invalid(label, `it has more than ${maxTensors} tensors`);
    entries.push([name, readEntry(label, name, scanner)]);
  });
  scanner.end();
  entries.sort(([, a], [, b]) => a.byteOffset - b.byteOffset || a.byteLength - b.byteLength);
  checkLayout(label, entries, dataBytes);
  return { metadata: Object.freeze(Object.fromEntries(metadata)), entries: new Map(entries) };
}

function readMetadata(label: string, scanner: HeaderScanner, metadata: [string, string][]): void {
  const refuse = (): LmError =>
    invalid(
      label,
      `its "__metadata__" is not a map of strings: it has ${scanner.excerpt(scanner.position())}`,
      {
        field: '__metadata__',
      },
    );
  if (!scanner.atObject()) throw refuse();
  scanner.object((key) => {
    if (!scanner.atString()) throw refuse();
    if (metadata.length === maxMetadata)
      throw invalid(label, `its "__metadata__" has more than ${maxMetadata} entries`);
    metadata.push([key, scanner.string(maxMetadataBytes)]);
  });
}

function readEntry(label: string, name: string, scanner: HeaderScanner): TensorEntry {
  const tensor = preview(name);
  const refuse = (field: string, what: string): LmError =>
    invalid(label, `tensor ${tensor} ${what}`, { tensor: name.slice(0, 200), field });
  let dtype: SafetensorsDtype | undefined;
  let shape: number[] | undefined;
  let offsets: number[] | undefined;
  if (!scanner.atObject())
    throw refuse(
      'dtype',
      `is ${scanner.excerpt(scanner.position())} instead of "dtype", "shape" and "data_offsets"`,
    );
  scanner.object((field) => {
    const start = scanner.position();
    const found = (): string => scanner.excerpt(start);
    switch (field) {
      case 'dtype': {
        const value = scanner.atString() ? scanner.string(maxDtypeBytes) : null;
        if (value === null || !Object.hasOwn(elementBytes, value))
          throw refuse(field, `has the unknown type ${value === null ? found() : preview(value)} ("dtype")`);
        dtype = value as SafetensorsDtype;
        return;
      }
      case 'shape': {
        const sizes = scanner.sizes(maxDimensions);
        if (sizes === null)
          throw refuse(field, `has the shape ${found()} ("shape"): expected at most ${maxDimensions} sizes`);
        shape = sizes;
        return;
      }
      case 'data_offsets': {
        const sizes = scanner.sizes(2);
        if (sizes?.length !== 2 || sizes[0] > sizes[1])
          throw refuse(
            field,
            `has the offsets ${found()} ("data_offsets"): expected its first byte and the one after its last`,
          );
        offsets = sizes;
        return;
      }
      default:
        throw refuse(field.slice(0, 200), `has the unknown field ${preview(field)}`);
    }
  });
  if (!dtype) throw refuse('dtype', 'has no "dtype"');
  if (!shape) throw refuse('shape', 'has no "shape"');
  if (!offsets) throw refuse('data_offsets', 'has no "data_offsets"');
  const [begin, end] = offsets;
  const expectedBytes = shape.reduce((product, size) => product * size, 1) * elementBytes[dtype];
  if (end - begin !== expectedBytes) {
    throw refuse(
      'shape',
      `(${dtype} ${preview(shape).replaceAll(',', ', ')}) needs ${expectedBytes} bytes, its offsets give ${end - begin}`,
    );
  }
  return Object.freeze({ dtype, shape: Object.freeze(shape), byteOffset: begin, byteLength: end - begin });
}

function checkLayout(
  label: string,
  entries: readonly (readonly [string, TensorEntry])[],
  dataBytes: number,
): void {
  let position = 0;
  let previous = 'the header';
  for (const [name, entry] of entries) {
    if (entry.byteOffset < position)
      throw invalid(label, `tensor ${preview(name)} overlaps ${previous}`, {
        tensor: name.slice(0, 200),
        field: 'data_offsets',
      });
    if (entry.byteOffset > position) {
      throw invalid(
        label,
        `there are ${entry.byteOffset - position} unused bytes before tensor ${preview(name)}`,
        { tensor: name.slice(0, 200), field: 'data_offsets' },
      );
    }
    position += entry.byteLength;
    previous = `tensor ${preview(name)}`;
    if (position > dataBytes) {
      throw new LmError(
        'SAFETENSORS_TRUNCATED',
        `${label} is truncated: tensor ${preview(name)} ends at byte ${position} of the data, the file has ${dataBytes}. ` +
          'Download or copy it again.',
        {
          details: {
            file: label,
            tensor: name.slice(0, 200),
            expectedBytes: position,
            actualBytes: dataBytes,
          },
        },
      );
    }
  }
  if (position < dataBytes) throw invalid(label, `${dataBytes - position} bytes follow its last tensor`);
}

function invalid(
  label: string,
  problem: string,
  { cause, ...details }: { tensor?: string; field?: string; cause?: unknown } = {},
): LmError {
  return new LmError(
    'SAFETENSORS_INVALID',
    `${label} is not a valid safetensors file: ${problem}. Download or save it again.`,
    { details: { file: label, ...details }, cause },
  );
}
