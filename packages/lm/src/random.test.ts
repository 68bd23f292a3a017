import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fillNormal, fillUniform, philox4x32, uniformAt } from './random.js';

test('philox4x32 gives the known answers of the Random123 distribution', () => {
  assert.deepEqual(philox4x32([0, 0, 0, 0], [0, 0]), [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
  const ones = 0xffffffff;
  assert.deepEqual(
    philox4x32([ones, ones, ones, ones], [ones, ones]),
    [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd],
  );
  assert.deepEqual(
    philox4x32([0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0]),
    [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
  );
});

test('uniforms depend on seed, step and stream, and on nothing else', () => {
  const values = [
    uniformAt(1, 0),
    uniformAt(2, 0),
    uniformAt(1, 1),
    uniformAt(1, 0, 1),
    uniformAt(1 + 2 ** 32, 0),
  ];
  assert.equal(new Set(values).size, values.length);
  assert.equal(uniformAt(1, 0), values[0]);
  for (const value of values) assert.ok(value >= 0 && value < 1);
});

test('normal and uniform fills have the moments they promise', () => {
  const normal = new Float32Array(20001);
  fillNormal(normal, 2, 5, 7);
  const mean = normal.reduce((a, b) => a + b, 0) / normal.length;
  const variance = normal.reduce((a, b) => a + (b - mean) ** 2, 0) / normal.length;
  assert.ok(Math.abs(mean) < 0.05, `${mean}`);
  assert.ok(Math.abs(variance - 4) < 0.2, `${variance}`);
  const uniform = new Float32Array(20001);
  fillUniform(uniform, -1, 3, 5, 7);
  assert.ok(uniform.every((value) => value >= -1 && value <= 3));
  assert.ok(Math.abs(uniform.reduce((a, b) => a + b, 0) / uniform.length - 1) < 0.05);
});
