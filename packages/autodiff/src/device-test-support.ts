import assert from 'node:assert/strict';
import { createSession, createTensor, elementCount } from '@parley/graph';
import type { Device, Graph, Value } from '@parley/graph';

/** The device whose results are compared with the CPU's: `PARLEY_TEST_DEVICE`, as lm's `webgpu.test.ts` sets it. */
export const comparedDevice = process.env.PARLEY_TEST_DEVICE as Device | undefined;

/**
 * Asserts that a graph gives on a device what it gives on the CPU.
 * @param tolerance of values up to 1, relative above: float32's rounding of a few operations; WGSL lets sin and cos miss by 2⁻¹¹
 */
export async function assertSameOnDevice(
  g: Graph,
  device: Device,
  valuesOf: (input: Value, index: number) => readonly number[],
  tolerance: number,
): Promise<void> {
  const feeds = Object.fromEntries(
    g.inputs.map((input, i) => {
      const tensor = createTensor('float32', input.shape as number[]);
      (tensor.data as Float32Array).set(valuesOf(input, i));
      assert.equal(tensor.data.length, elementCount(input.shape));
      return [input.name, tensor];
    }),
  );
  await using here = await createSession(g, { threads: 1, spinning: false });
  await using there = await createSession(g, { threads: 1, spinning: false, device });
  const [expected, found] = [await here.run(feeds), await there.run(feeds)];
  for (const [name, { data }] of Object.entries(found))
    (data as Float32Array).forEach((value, at) => {
      const want = expected[name].data[at] as number;
      const bound = tolerance * Math.max(1, Math.abs(want));
      assert.ok(
        Math.abs(value - want) <= bound,
        `${name}[${at}] is ${value} on ${device}, ${want} on the CPU`,
      );
    });
}
