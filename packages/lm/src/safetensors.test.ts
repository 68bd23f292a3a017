import assert from 'node:assert/strict';
import { readFileSync, readdirSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { rejects, temporaryFolder } from './io-test-support.js';
import { LmError } from './lm-error.js';
import { decodeSafetensors, encodeSafetensors, readSafetensors, writeSafetensors } from './safetensors.js';
import type { TensorInput } from './safetensors.js';

function withHeader(header: unknown, dataBytes: number): Uint8Array {
  const json = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.byteLength));
  return Buffer.concat([length, json, Buffer.alloc(dataBytes)]);
}

const floats = (shape: number[], ...values: number[]): TensorInput => ({
  shape,
  data: Float32Array.from(values),
});

test('what is written is read back, of every type, through file and memory alike', (t) => {
  const path = join(temporaryFolder(t), 'a.safetensors');
  const tensors = new Map<string, TensorInput>([
    ['b', floats([2, 2], 1, -2.5, 3e38, 1e-40)],
    ['a.half', { shape: [3], data: Float32Array.of(1, 65504, -0.5), dtype: 'F16' }],
    ['a.brain', { shape: [1, 1], data: Float32Array.of(-2), dtype: 'BF16' }],
    ['scalar', floats([], 5)],
    ['empty', floats([0, 4])],
    ['ints', { shape: [2], data: Int32Array.of(-1, 7) }],
    ['bytes', { shape: [3], data: Uint8Array.of(1, 2, 255) }],
    ['longs', { shape: [1], data: BigInt64Array.of(-5n) }],
  ]);
  writeSafetensors(path, tensors, { format: 'pt', step: '3' });
  assert.deepEqual(
    new Uint8Array(readFileSync(path)),
    encodeSafetensors(tensors, { step: '3', format: 'pt' }),
  );
  for (const open of [() => readSafetensors(path), () => decodeSafetensors(readFileSync(path), 'memory')]) {
    using reader = open();
    assert.deepEqual({ ...reader.metadata }, { format: 'pt', step: '3' });
    assert.deepEqual([...reader.readFloats('b')], [...(tensors.get('b')?.data as Float32Array)]);
    assert.deepEqual([...reader.readFloats('a.half', [3])], [1, 65504, -0.5]);
    assert.deepEqual([...reader.readFloats('a.brain')], [-2]);
    assert.deepEqual([...reader.readFloats('scalar', [])], [5]);
    assert.equal(reader.readFloats('empty').length, 0);
    for (const name of ['b', 'a.half', 'a.brain', 'scalar', 'empty'])
      assert.deepEqual(reader.viewFloats(name), reader.readFloats(name));
    assert.deepEqual([...new Int32Array(reader.readBytes('ints').buffer)], [-1, 7]);
    assert.deepEqual([...reader.readBytes('bytes')], [1, 2, 255]);
    assert.equal(reader.entries.get('longs')?.dtype, 'I64');
  }
});

test('floats in memory are seen without a copy, wherever they lie', () => {
  const bytes = encodeSafetensors(new Map([['a', floats([3], 1, 2, 3)]]));
  using inPlace = decodeSafetensors(bytes, 'memory');
  assert.equal(inPlace.viewFloats('a').buffer, bytes.buffer);
  const shifted = new Uint8Array(bytes.length + 1).subarray(1);
  shifted.set(bytes);
  using elsewhere = decodeSafetensors(shifted, 'memory');
  assert.deepEqual([...elsewhere.viewFloats('a', [3])], [1, 2, 3]);
  rejects('TENSOR_SHAPE_MISMATCH', /\[3\]; expected \[4\]/, () => elsewhere.viewFloats('a', [4]));
});

test('bytes depend on values alone, not on insertion order, and tensors are aligned to their elements', () => {
  const tensor = fc.record({
    data: fc.array(fc.float({ noNaN: true }), { maxLength: 9 }),
    dtype: fc.constantFrom('F32' as const, 'F16' as const, 'BF16' as const),
  });
  fc.assert(
    fc.property(
      fc.dictionary(fc.string({ minLength: 1, maxLength: 8 }), tensor, { maxKeys: 8 }),
      (record) => {
        const list = Object.entries(record)
          .filter(([name]) => name !== '__metadata__')
          .map(([name, { data, dtype }]): [string, TensorInput] => [
            name,
            { shape: [data.length], data: Float32Array.from(data), dtype },
          ]);
        const bytes = encodeSafetensors(new Map(list));
        assert.deepEqual(encodeSafetensors(new Map(list.toReversed())), bytes);
        const reader = decodeSafetensors(bytes, 'memory');
        for (const [name, { data, dtype }] of list) {
          const entry = reader.entries.get(name);
          assert.ok(entry);
          assert.equal(entry.byteOffset % (dtype === 'F32' ? 4 : 2), 0);
          if (dtype === 'F32') assert.deepEqual(reader.readFloats(name), data);
        }
      },
    ),
    { numRuns: 100 },
  );
});

test('16-bit tensors longer than the conversion buffer are read whole', () => {
  const data = Float32Array.from({ length: (1 << 19) + 5 }, (_, i) => i % 1024);
  const bytes = encodeSafetensors(new Map([['x', { shape: [data.length], data, dtype: 'F16' as const }]]));
  assert.deepEqual(decodeSafetensors(bytes, 'memory').readFloats('x'), data);
});

test('a missing file is named', () => {
  rejects('FILE_MISSING', /nowhere\/model\.safetensors does not exist.*folder/, () =>
    readSafetensors('/nowhere/model.safetensors'),
  );
});

test('a truncated file is refused on opening, wherever it was cut', (t) => {
  const path = join(temporaryFolder(t), 'model.safetensors');
  writeSafetensors(path, new Map([['weight', floats([4], 1, 2, 3, 4)]]));
  const whole = readFileSync(path).byteLength;
  for (const [bytes, pattern] of [
    [whole - 1, /model\.safetensors is truncated: tensor "weight" ends at byte 16 .* has 15\. .*again/],
    [20, /is truncated: its header needs \d+ bytes, the file has 20/],
    [5, /is truncated: its header needs 8 bytes, the file has 5/],
  ] as const) {
    truncateSync(path, bytes);
    rejects('SAFETENSORS_TRUNCATED', pattern, () => readSafetensors(path));
  }
});

test('headers that are too large, not JSON or inconsistent are refused with the tensor named', () => {
  const entry = (begin: number, end: number, shape = [(end - begin) / 4], dtype = 'F32') => ({
    dtype,
    shape,
    data_offsets: [begin, end],
  });
  const refused = (header: unknown, dataBytes: number, pattern: RegExp): void =>
    rejects('SAFETENSORS_INVALID', pattern, () =>
      decodeSafetensors(withHeader(header, dataBytes), 'x.safetensors'),
    );
  rejects('SAFETENSORS_INVALID', /claims a header of \d+ bytes.*LFS pointer/, () =>
    decodeSafetensors(Buffer.from('version https://git-lfs.github.com/spec/v1'), 'x.safetensors'),
  );
  refused('{"a": ', 0, /x\.safetensors .* header is not JSON/);
  refused('[1]', 0, /not a JSON object/);
  refused({ a: entry(0, 8), b: entry(4, 12) }, 12, /"b" overlaps tensor "a"/);
  refused({ a: entry(4, 8) }, 8, /4 unused bytes before tensor "a"/);
  refused({ a: entry(0, 4) }, 8, /4 bytes follow/);
  refused({ a: entry(0, 8, [3]) }, 8, /"a" \(F32 \[3\]\) needs 12 bytes, its offsets give 8/);
  refused({ a: entry(0, 8, [2], 'Q4') }, 8, /"a" has the unknown type "Q4"/);
  refused({ a: entry(0, 8, [-2]) }, 8, /"a" has the shape \[-2\]/);
  refused({ a: { dtype: 'F32', shape: [1], data_offsets: [4] } }, 8, /"a" has the offsets \[4\]/);
  refused({ __metadata__: { a: 1 } }, 0, /__metadata__/);
  rejects('SAFETENSORS_TRUNCATED', /"a" ends at byte 400 of the data, the file has 8/, () =>
    decodeSafetensors(withHeader({ a: entry(0, 400) }, 8), 'x.safetensors'),
  );
});

test('arbitrary bytes never crash the reader with anything but a named error', () => {
  fc.assert(
    fc.property(fc.json(), fc.nat(40), (json, dataBytes) => {
      try {
        decodeSafetensors(withHeader(json, dataBytes), 'x');
      } catch (error) {
        assert.ok(error instanceof LmError, String(error));
      }
    }),
  );
});

test('reading names a missing tensor, a wrong shape and a wrong type, with expected and got', () => {
  const reader = decodeSafetensors(
    encodeSafetensors(
      new Map<string, TensorInput>([
        ['w', floats([2, 1], 1, 2)],
        ['q', { shape: [1], data: Uint8Array.of(1) }],
      ]),
    ),
    'model.safetensors',
  );
  rejects('TENSOR_MISSING', /model\.safetensors has no tensor "v"/, () => reader.readFloats('v'));
  rejects('TENSOR_SHAPE_MISMATCH', /"w" has shape \[2, 1\]; expected \[1, 2\]/, () =>
    reader.readFloats('w', [1, 2]),
  );
  rejects('TENSOR_DTYPE_UNSUPPORTED', /"q" has type U8; expected F32, F16 or BF16/, () =>
    reader.readFloats('q'),
  );
});

test('data that does not fill its shape is not written', () => {
  rejects('TENSOR_SHAPE_MISMATCH', /"w" has 2 values but its shape \[3\] needs 3/, () =>
    encodeSafetensors(new Map([['w', floats([3], 1, 2)]])),
  );
});

test('a failed write names the path and the remedy', () => {
  rejects('FILE_NOT_WRITTEN', /nowhere\/m\.safetensors was not written.*folder exists/, () =>
    writeSafetensors('/nowhere/m.safetensors', new Map()),
  );
});

test(
  'a full disk is named and leaves the earlier file alone',
  { skip: process.platform !== 'linux' },
  (t) => {
    const folder = temporaryFolder(t);
    const path = join(folder, 'model.safetensors');
    writeFileSync(path, 'earlier');
    // The temporary file lies on the device on which every write fails with ENOSPC.
    symlinkSync('/dev/full', `${path}.${process.pid}.tmp`);
    rejects(
      'FILE_NOT_WRITTEN',
      /model\.safetensors was not written: the disk is full\. Free some space/,
      () => writeSafetensors(path, new Map([['w', floats([1], 1)]])),
    );
    assert.equal(readFileSync(path, 'utf8'), 'earlier');
    assert.deepEqual(readdirSync(folder), ['model.safetensors']);
  },
);
