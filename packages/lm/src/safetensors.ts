import { closeSync, fstatSync, openSync, readSync, statSync } from 'node:fs';
import { narrowToBfloat16, narrowToFloat16, widenBfloat16, widenFloat16 } from './dtype.js';
import { writeFileAtomically } from './safetensors-file.js';
import { maxHeaderBytes, parseHeader } from './safetensors-header.js';
import type { TensorEntry } from './safetensors-header.js';
import { LmError } from './lm-error.js';

export type { SafetensorsDtype, TensorEntry } from './safetensors-header.js';

/** An open safetensors file or buffer: its header in memory, its tensors read on demand. Close it after use. */
export interface SafetensorsReader extends Disposable {
  /** What error messages call this file: its path, or the label given to {@link decodeSafetensors}. */
  readonly label: string;
  /** The header's `__metadata__`, empty when absent. */
  readonly metadata: Readonly<Record<string, string>>;
  /** Type, shape and place of every tensor, by name, in the order of the data. */
  readonly entries: ReadonlyMap<string, TensorEntry>;
  /**
   * Checks, without reading, what {@link readFloats} would refuse.
   * @throws LmError `TENSOR_MISSING`, `TENSOR_SHAPE_MISMATCH`, `TENSOR_DTYPE_UNSUPPORTED`.
   */
  checkFloats(name: string, expectedShape?: readonly number[]): void;
  /**
   * Reads an F32, F16 or BF16 tensor into a new float32 array of exactly its size.
   * @throws LmError `TENSOR_MISSING`, `TENSOR_DTYPE_UNSUPPORTED`, `TENSOR_SHAPE_MISMATCH` (when `expectedShape` is
   * given and differs), `FILE_UNREADABLE`.
   */
  readFloats(name: string, expectedShape?: readonly number[]): Float32Array<ArrayBuffer>;
  /** Like {@link readFloats}, to be read at once and not written: what lies in memory as float32 is not copied. */
  viewFloats(name: string, expectedShape?: readonly number[]): Float32Array;
  /** Reads the bytes of a tensor of any type, little-endian, into a new buffer of exactly their size. */
  readBytes(name: string): Uint8Array<ArrayBuffer>;
  /** Releases the file. Idempotent; reading afterwards throws. */
  close(): void;
}

/** A tensor to write. `dtype` narrows a Float32Array on the way out; it may be left out everywhere. */
export interface TensorInput {
  readonly shape: readonly number[];
  readonly data: Float32Array | Int32Array | BigInt64Array | Uint8Array;
  readonly dtype?: 'F32' | 'F16' | 'BF16';
}

/**
 * Opens a safetensors file (format of huggingface/safetensors: an 8-byte little-endian header length, a JSON header, then
 * the tensors without gaps) and checks its header against the file's length. No tensor is read yet.
 * @throws LmError `FILE_MISSING`, `FILE_UNREADABLE`, `SAFETENSORS_TRUNCATED`, `SAFETENSORS_INVALID`.
 */
export function readSafetensors(path: string): SafetensorsReader {
  const fd = openForReading(path);
  let open = true;
  const close = (): void => {
    if (open) closeSync(fd);
    open = false;
  };
  try {
    const byteLength = fstatSync(fd).size;
    return createReader(path, byteLength, close, (target, position) => {
      if (!open) throw new LmError('FILE_UNREADABLE', `${path} was read after it was closed.`);
      readFully(path, fd, target, position);
    });
  } catch (error) {
    close();
    throw error;
  }
}

/** {@link readSafetensors} over bytes already in memory; `label` names them in error messages. */
export function decodeSafetensors(bytes: Uint8Array, label: string): SafetensorsReader {
  return createReader(
    label,
    bytes.byteLength,
    () => undefined,
    (target, position) => target.set(bytes.subarray(position, position + target.byteLength)),
    (position, length) => bytes.subarray(position, position + length),
  );
}

/**
 * Lays tensors out as a safetensors file. The bytes are a function of the arguments' values alone: wider types first,
 * then names in code-unit order, sorted metadata, a header padded with spaces so that the data starts 8-byte aligned.
 * @throws LmError `TENSOR_SHAPE_MISMATCH` when a tensor's data does not fill its shape.
 */
export function encodeSafetensors(
  tensors: ReadonlyMap<string, TensorInput>,
  metadata: Readonly<Record<string, string>> = {},
): Uint8Array<ArrayBuffer> {
  const { chunks, byteLength } = layOut(tensors, metadata);
  const file = new Uint8Array(byteLength);
  let offset = 0;
  for (const chunk of chunks()) {
    file.set(chunk, offset);
    offset += chunk.byteLength;
  }
  return file;
}

/**
 * Writes {@link encodeSafetensors}'s bytes tensor by tensor to `path`: into a temporary file beside it, flushed to disk,
 * then renamed. A failure (a full disk, say) leaves an earlier file at `path` as it was.
 * @throws LmError `FILE_NOT_WRITTEN`, `TENSOR_SHAPE_MISMATCH`.
 */
export function writeSafetensors(
  path: string,
  tensors: ReadonlyMap<string, TensorInput>,
  metadata: Readonly<Record<string, string>> = {},
): void {
  writeFileAtomically(path, layOut(tensors, metadata).chunks());
}

type ReadAt = (target: Uint8Array<ArrayBuffer>, position: number) => void;

function createReader(
  label: string,
  byteLength: number,
  close: () => void,
  readAt: ReadAt,
  viewAt?: (position: number, length: number) => Uint8Array<ArrayBufferLike>,
): SafetensorsReader {
  const bytesAt = (position: number, length: number): Uint8Array => {
    const bytes = new Uint8Array(length);
    readAt(bytes, position);
    return bytes;
  };
  const { metadata, entries, dataStart } = readHeader(label, byteLength, viewAt ?? bytesAt);
  const entryOf = (name: string): TensorEntry => {
    const entry = entries.get(name);
    if (entry === undefined) {
      throw new LmError(
        'TENSOR_MISSING',
        `${label} has no tensor "${name}". Check that it is the right file.`,
        {
          details: { file: label, tensor: name },
        },
      );
    }
    return entry;
  };
  const readBytes = (name: string): Uint8Array<ArrayBuffer> => {
    const entry = entryOf(name);
    const bytes = new Uint8Array(entry.byteLength);
    readAt(bytes, dataStart + entry.byteOffset);
    return bytes;
  };
  const floatEntry = (name: string, expectedShape?: readonly number[]): TensorEntry => {
    const entry = entryOf(name);
    if (expectedShape !== undefined) checkShape(label, name, entry.shape, expectedShape);
    if (!['F32', 'F16', 'BF16'].includes(entry.dtype)) throw unsupportedDtype(label, name, entry.dtype);
    return entry;
  };
  const readFloats = (name: string, expectedShape?: readonly number[]): Float32Array<ArrayBuffer> => {
    const { dtype, byteLength, byteOffset } = floatEntry(name, expectedShape);
    if (dtype === 'F32') return new Float32Array(readBytes(name).buffer);
    const widen = dtype === 'F16' ? widenFloat16 : widenBfloat16;
    return readHalves(widen, byteLength / 2, dataStart + byteOffset, readAt);
  };
  return {
    label,
    metadata,
    entries,
    readBytes,
    checkFloats: (name, expectedShape) => void floatEntry(name, expectedShape),
    readFloats,
    viewFloats(name, expectedShape) {
      const { dtype, byteLength, byteOffset } = floatEntry(name, expectedShape);
      const bytes = dtype === 'F32' ? viewAt?.(dataStart + byteOffset, byteLength) : undefined;
      // A file may leave its tensors where float32 cannot be read in place.
      if (!bytes || bytes.byteOffset % 4 !== 0) return readFloats(name, expectedShape);
      return new Float32Array(bytes.buffer, bytes.byteOffset, byteLength / 4);
    },
    close,
    [Symbol.dispose]: close,
  };
}

function unsupportedDtype(label: string, name: string, dtype: string): LmError {
  return new LmError(
    'TENSOR_DTYPE_UNSUPPORTED',
    `${label}: tensor "${name}" has type ${dtype}; expected F32, F16 or BF16. ` +
      'Save the checkpoint unquantised in one of these types.',
    { details: { file: label, tensor: name, dtype } },
  );
}

/** Widens through a small buffer, so that a 16-bit tensor never occupies more memory than its float32 result. */
function readHalves(widen: typeof widenFloat16, count: number, position: number, readAt: ReadAt) {
  const out = new Float32Array(count);
  const chunk = new Uint16Array(Math.min(count, 1 << 19));
  for (let start = 0; start < count; start += chunk.length) {
    const halves = chunk.subarray(0, Math.min(chunk.length, count - start));
    readAt(new Uint8Array(halves.buffer, 0, halves.byteLength), position + 2 * start);
    widen(halves, out, start);
  }
  return out;
}

function readHeader(
  label: string,
  byteLength: number,
  bytesAt: (position: number, length: number) => Uint8Array,
) {
  const truncated = (expectedBytes: number): LmError =>
    new LmError(
      'SAFETENSORS_TRUNCATED',
      `${label} is truncated: its header needs ${expectedBytes} bytes, the file has ${byteLength}. Download or copy it again.`,
      { details: { file: label, expectedBytes, actualBytes: byteLength } },
    );
  if (byteLength < 8) throw truncated(8);
  const prefix = bytesAt(0, 8);
  const claimedBytes = new DataView(prefix.buffer, prefix.byteOffset).getBigUint64(0, true);
  const headerBytes = Number(claimedBytes);
  if (headerBytes > maxHeaderBytes) {
    throw new LmError(
      'SAFETENSORS_INVALID',
      `${label} claims a header of ${claimedBytes} bytes; the format allows ${maxHeaderBytes}. It is not a safetensors file ` +
        '(a Git LFS pointer or a web page, perhaps): fetch the file itself.',
      { details: { file: label, headerBytes } },
    );
  }
  const dataStart = 8 + headerBytes;
  if (dataStart > byteLength) throw truncated(dataStart);
  return { ...parseHeader(label, bytesAt(8, headerBytes), byteLength - dataStart), dataStart };
}

function checkShape(label: string, name: string, got: readonly number[], expected: readonly number[]): void {
  if (got.length === expected.length && got.every((size, i) => size === expected[i])) return;
  throw new LmError(
    'TENSOR_SHAPE_MISMATCH',
    `${label}: tensor "${name}" has shape [${listed(got)}]; expected [${expected.join(', ')}]. ` +
      'The weights and config.json are of different models: take both from the same place.',
    { details: { file: label, tensor: name, got: listed(got), expected: expected.join(',') } },
  );
}

/** Sizes as a message shows them: a damaged file may have many dimensions. */
function listed(sizes: readonly number[]): string {
  return sizes.length > 8 ? `${sizes.slice(0, 8).join(', ')}, …` : sizes.join(', ');
}

function openForReading(path: string): number {
  try {
    // Opening a pipe would wait for its writer.
    if (!statSync(path).isFile())
      throw new LmError('FILE_UNREADABLE', `${path} is not a file.`, { details: { file: path } });
    return openSync(path, 'r');
  } catch (cause) {
    if (cause instanceof LmError) throw cause;
    const missing = (cause as NodeJS.ErrnoException).code === 'ENOENT';
    throw new LmError(
      missing ? 'FILE_MISSING' : 'FILE_UNREADABLE',
      missing
        ? `${path} does not exist. Point to a Hugging Face model folder that holds it, or download it.`
        : `${path} cannot be opened: ${(cause as Error).message}. Check its permissions.`,
      { details: { file: path }, cause },
    );
  }
}

function attemptRead(path: string, read: () => number): number {
  try {
    return read();
  } catch (cause) {
    throw new LmError(
      'FILE_UNREADABLE',
      `${path} cannot be read: ${(cause as Error).message}. Check the disk.`,
      {
        details: { file: path },
        cause,
      },
    );
  }
}

function readFully(path: string, fd: number, target: Uint8Array, position: number): void {
  // One read call moves at most 2 GiB.
  const maxReadBytes = 1 << 28;
  let done = 0;
  while (done < target.byteLength) {
    const length = Math.min(maxReadBytes, target.byteLength - done);
    const read = attemptRead(path, () => readSync(fd, target, done, length, position + done));
    if (read === 0) {
      throw new LmError(
        'SAFETENSORS_TRUNCATED',
        `${path} ended ${target.byteLength - done} bytes early: it was changed while being read. Load it again.`,
        { details: { file: path } },
      );
    }
    done += read;
  }
}

function layOut(tensors: ReadonlyMap<string, TensorInput>, metadata: Readonly<Record<string, string>>) {
  const ordered = [...tensors].map(([name, tensor]) => ({ name, tensor, ...storage(name, tensor) }));
  // Wider types first keeps every tensor aligned to its own element size.
  ordered.sort((a, b) => b.elementBytes - a.elementBytes || (a.name < b.name ? -1 : 1));
  const header: [string, unknown][] = [];
  const metadataEntries = Object.entries(metadata).sort(([a], [b]) => (a < b ? -1 : 1));
  if (metadataEntries.length > 0) header.push(['__metadata__', Object.fromEntries(metadataEntries)]);
  let offset = 0;
  for (const { name, tensor, dtype, elementBytes } of ordered) {
    const end = offset + tensor.data.length * elementBytes;
    header.push([name, { dtype, shape: tensor.shape, data_offsets: [offset, end] }]);
    offset = end;
  }
  const json = new TextEncoder().encode(JSON.stringify(Object.fromEntries(header)));
  const headerBytes = Math.ceil(json.byteLength / 8) * 8;
  const head = new Uint8Array(8 + headerBytes).fill(0x20);
  new DataView(head.buffer).setBigUint64(0, BigInt(headerBytes), true);
  head.set(json, 8);
  function* chunks(): Generator<Uint8Array> {
    yield head;
    for (const { bytes } of ordered) yield bytes();
  }
  return { chunks, byteLength: head.byteLength + offset };
}

function storage(name: string, { data, dtype = 'F32', shape }: TensorInput) {
  const expected = shape.reduce((product, size) => product * size, 1);
  if (data.length !== expected) {
    throw new LmError(
      'TENSOR_SHAPE_MISMATCH',
      `Tensor "${name}" has ${data.length} values but its shape [${shape.join(', ')}] needs ${expected}.`,
      { details: { tensor: name, got: data.length, expected } },
    );
  }
  const raw = (array: TensorInput['data'] | Uint16Array): Uint8Array =>
    new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
  if (data instanceof Float32Array) {
    if (dtype === 'F16') return { dtype, elementBytes: 2, bytes: () => raw(narrowToFloat16(data)) };
    if (dtype === 'BF16') return { dtype, elementBytes: 2, bytes: () => raw(narrowToBfloat16(data)) };
    return { dtype, elementBytes: 4, bytes: () => raw(data) };
  }
  if (data instanceof Int32Array) return { dtype: 'I32', elementBytes: 4, bytes: () => raw(data) };
  if (data instanceof BigInt64Array) return { dtype: 'I64', elementBytes: 8, bytes: () => raw(data) };
  return { dtype: 'U8', elementBytes: 1, bytes: () => raw(data) };
}
