import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { createProtobufWriter } from './protobuf-writer.js';

/** Reads one base-128 number, as the wire format defines it. */
function readVarint(bytes: Uint8Array, at: number): { value: bigint; next: number } {
  let value = 0n;
  for (let i = at, shift = 0n; ; i++, shift += 7n) {
    value |= BigInt(bytes[i] & 127) << shift;
    if (bytes[i] < 128) return { value, next: i + 1 };
  }
}

test('integers round-trip, negative ones as 64-bit two’s complement', () =>
  fc.assert(
    fc.property(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), (value) => {
      const writer = createProtobufWriter();
      writer.int(1, value);
      const bytes = writer.finish();
      assert.equal(bytes[0], 8);
      assert.equal(BigInt.asIntN(64, readVarint(bytes, 1).value), value);
    }),
  ));

test('matches the worked examples of the encoding guide', () => {
  const writer = createProtobufWriter();
  writer.int(1, 150);
  writer.string(2, 'testing');
  writer.message(3, (inner) => inner.int(1, 150));
  writer.float(4, 1);
  const expected = '089601' + '120774657374696e67' + '1a03089601' + '250000803f';
  assert.equal(Buffer.from(writer.finish()).toString('hex'), expected);
});
