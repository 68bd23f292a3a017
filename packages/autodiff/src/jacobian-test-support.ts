import assert from 'node:assert/strict';
import type { DType, Graph, Session, Tensor, Value } from '@parley/graph';
import { createGraph, createSession, createTensor, elementCount } from '@parley/graph';
import { assertSameOnDevice, comparedDevice } from './device-test-support.js';
import { gradients } from './gradients.js';

/** One differentiable input of a case. */
export interface CaseInput {
  readonly shape: readonly number[];
  /** Defaults to values spread over about -1..1, no two alike. */
  readonly values?: readonly number[];
}

/** A small function of its inputs whose Jacobian is compared with finite differences. */
export interface JacobianCase {
  /** Key of the rule under test. */
  readonly rule: string;
  /** What this case adds, when a rule has several. */
  readonly about?: string;
  /** float64 unless onnxruntime has no such kernel. */
  readonly dtype?: DType;
  readonly inputs: readonly CaseInput[];
  readonly build: (g: Graph, inputs: readonly Value[]) => Value | readonly Value[];
}

/** Values a finite difference can move without meeting a tie: irrational steps folded into -1..1. */
function spread(count: number, offset: number): number[] {
  return Array.from({ length: count }, (_, i) => (((i + 1) * 0.6180339887 + offset * 0.37) % 1) * 2 - 1);
}

type Feeds = Record<string, Tensor>;

function numbers(tensor: Tensor): Float64Array | Float32Array {
  return tensor.data as Float64Array;
}

/**
 * Asserts that every entry of the analytic Jacobian (one reverse pass an output element) equals the central difference
 * (one pair of runs an input element). Under `PARLEY_TEST_DEVICE`, that values and gradients are those of the CPU, in float32.
 */
export async function checkJacobian(test: JacobianCase): Promise<void> {
  const compared = comparedDevice === 'cpu' ? undefined : comparedDevice;
  const dtype = compared ? 'float32' : (test.dtype ?? 'float64');
  const [step, tolerance] = dtype === 'float64' ? [1e-4, 1e-6] : [1e-2, 2e-3];
  const g = createGraph('jacobian');
  const inputs = test.inputs.map((input, i) => g.input(`x${i}`, input.shape, dtype));
  const built = test.build(g, inputs);
  const outputs: readonly Value[] = Array.isArray(built) ? (built as readonly Value[]) : [built as Value];
  const seeds = outputs.map((output, i) => g.input(`seed${i}`, output.shape, dtype));
  const targets = outputs.map((value, i) => ({ value, seed: seeds[i] }));
  const analytic = gradients(g, targets, inputs);
  outputs.forEach((output, i) => g.output(output, `y${i}`));
  analytic.forEach((gradient, i) => {
    assert.deepEqual(gradient.shape, inputs[i].shape);
    g.output(gradient, `dx${i}`);
  });
  if (compared) {
    // GPUs have no float64.
    if (g.nodes.some(({ outputs: [output] }) => output?.dtype === 'float64')) return;
    const valuesOf = (input: Value, i: number): readonly number[] =>
      (i < inputs.length ? test.inputs[i].values : undefined) ??
      spread(elementCount(input.shape) as number, i);
    await assertSameOnDevice(g, compared, valuesOf, ['Sin', 'Cos'].includes(test.rule) ? 2 ** -11 : 2e-5);
    return;
  }
  await using session = await createSession(g, { threads: 1, spinning: false });
  const feeds: Feeds = {};
  test.inputs.forEach(({ shape, values }, i) => {
    feeds[`x${i}`] = createTensor(dtype, shape);
    numbers(feeds[`x${i}`]).set(values ?? spread(elementCount(shape) as number, i));
  });
  seeds.forEach((seed, i) => (feeds[`seed${i}`] = createTensor(dtype, seed.shape as number[])));

  for (const i of inputs.keys()) {
    const expected = await numericColumns(session, feeds, `x${i}`, outputs.length, step);
    for (const j of outputs.keys())
      for (const row of numbers(feeds[`seed${j}`]).keys()) {
        numbers(feeds[`seed${j}`])[row] = 1;
        const results = await session.run(feeds, [`dx${i}`]);
        numbers(feeds[`seed${j}`])[row] = 0;
        numbers(results[`dx${i}`]).forEach((derivative, at) => {
          const difference = expected[at][j][row];
          const error = Math.abs(derivative - difference) / Math.max(1, Math.abs(difference));
          const entry = `d y${j}[${row}] / d x${i}[${at}]`;
          assert.ok(
            error <= tolerance,
            `${test.rule}: ${entry} is ${derivative}, finite differences say ${difference}`,
          );
        });
      }
  }
}

/** Central differences of every output, for each element of one input: `[element][output][row]`. */
async function numericColumns(session: Session, feeds: Feeds, name: string, outputs: number, step: number) {
  const data = numbers(feeds[name]);
  const columns: number[][][] = [];
  for (const [at, centre] of data.entries()) {
    data[at] = centre + step;
    const high = data[at];
    const above = await session.run(feeds);
    data[at] = centre - step;
    const gap = high - data[at];
    const below = await session.run(feeds);
    data[at] = centre;
    const column = Array.from({ length: outputs }, (_, j) => {
      const low = numbers(below[`y${j}`]);
      return Array.from(numbers(above[`y${j}`]), (y, row) => (y - low[row]) / gap);
    });
    columns.push(column);
  }
  return columns;
}
