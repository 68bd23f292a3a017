import type { DType } from './dtype.js';
import { onnxTypeCode, toTensorData } from './dtype.js';
import type { Dim } from './shape.js';
import { normalizeAxis } from './shape.js';
import type { Attributes, GraphNode, Value } from './value.js';

/**
 * What computes the same as `node` with kernels that onnxruntime's WebGPU provider has (1.30): the node itself, or a few
 * simpler ones. Some operators of floats it would hand to the CPU without a word; of the normalisation it leaves the second
 * output as it finds it.
 * @param isUsed whether anything reads an output
 */
export function lowerForWebGpu(node: GraphNode, isUsed: (value: Value) => boolean): readonly GraphNode[] {
  const lower = lowerings[`${node.domain}:${node.op}`];
  if (!lower || (node.op !== 'Size' && node.outputs[0]?.dtype !== 'float32')) return [node];
  if (lower === lowerRmsNorm && !isUsed(node.outputs[1])) return [node];
  const steps = createSteps(node);
  lower(node, steps);
  return steps.nodes;
}

/** The nodes that replace one. */
interface Steps {
  readonly nodes: GraphNode[];
  /** An intermediate result. */
  add(
    op: string,
    inputs: readonly Value[],
    shape: readonly Dim[],
    attributes?: Attributes,
    dtype?: DType,
  ): Value;
  constant(values: readonly number[], shape: readonly number[], dtype: DType): Value;
  /** A node that gives an output of the one replaced, the first unless told. */
  finish(op: string, inputs: readonly Value[], attributes?: Attributes, output?: number): void;
}

function createSteps(replaced: GraphNode): Steps {
  const nodes: GraphNode[] = [];
  const [result] = replaced.outputs;
  const add = (
    op: string,
    inputs: readonly Value[],
    shape: readonly Dim[],
    attributes: Attributes = {},
    dtype = result.dtype,
  ) => {
    const name = `${replaced.name}/${op}_${nodes.length}`;
    const value: Value = { name, shape, dtype, owner: result.owner };
    nodes.push({ name, op, domain: '', inputs, outputs: [value], attributes });
    return value;
  };
  return {
    nodes,
    add,
    constant: (values, shape, dtype) =>
      add(
        'Constant',
        [],
        shape,
        { value: { tensor: { dtype, shape, data: toTensorData(values, dtype) } } },
        dtype,
      ),
    finish(op, inputs, attributes = {}, output = 0) {
      const value = replaced.outputs[output];
      nodes.push({ name: value.name, op, domain: '', inputs, outputs: [value], attributes });
    },
  };
}

type Lowering = (node: GraphNode, steps: Steps) => void;

const lowerings: Readonly<Record<string, Lowering | undefined>> = {
  'com.microsoft:FusedMatMul': lowerFusedMatMul,
  ':LogSoftmax': lowerLogSoftmax,
  ':Sum': lowerSum,
  ':ConstantOfShape': lowerConstantOfShape,
  ':Sign': lowerSign,
  ':SimplifiedLayerNormalization': lowerRmsNorm,
  ':Size': lowerSize,
};

/** alpha · op(A) · op(B): the factor goes to whichever of A and the product has fewer columns. */
function lowerFusedMatMul({ inputs, outputs, attributes }: GraphNode, steps: Steps): void {
  const { transA, transB, alpha } = attributes;
  const transposed = (x: Value): Value => {
    const swap = <T>(list: readonly T[]): T[] => [...list.slice(0, -2), list.at(-1)!, list.at(-2)!];
    const perm = swap(x.shape.map((_, i) => i));
    return steps.add('Transpose', [x], swap(x.shape), { perm: { ints: perm } });
  };
  const isSet = (flag: Attributes[string] | undefined): boolean =>
    flag !== undefined && 'int' in flag && flag.int === 1;
  const [first, second] = inputs as readonly [Value, Value];
  const a = isSet(transA) ? transposed(first) : first;
  const b = isSet(transB) ? transposed(second) : second;
  if (!alpha || !('float' in alpha)) {
    steps.finish('MatMul', [a, b]);
    return;
  }
  const factor = steps.constant([alpha.float], [], 'float32');
  const [inner, columns] = [a.shape.at(-1), b.shape.at(-1)];
  if (typeof inner === 'number' && (typeof columns !== 'number' || inner <= columns)) {
    steps.finish('MatMul', [steps.add('Mul', [a, factor], a.shape), b]);
  } else {
    steps.finish('Mul', [steps.add('MatMul', [a, b], outputs[0].shape), factor]);
  }
}

/** s − log Σ exp(s) with s = x − max(x), which neither overflows nor takes the logarithm of zero. */
function lowerLogSoftmax({ inputs, attributes }: GraphNode, steps: Steps): void {
  const [x] = inputs as readonly [Value];
  const axis = attributes.axis && 'int' in attributes.axis ? attributes.axis.int : -1;
  const at = normalizeAxis(axis, x.shape.length)!;
  const reduced = x.shape.map((dim, i) => (i === at ? 1 : dim));
  const axes = steps.constant([at], [1], 'int64');
  const keep: Attributes = { keepdims: { int: 1 } };
  const shifted = steps.add('Sub', [x, steps.add('ReduceMax', [x, axes], reduced, keep)], x.shape);
  const total = steps.add('ReduceSum', [steps.add('Exp', [shifted], x.shape), axes], reduced, keep);
  steps.finish('Sub', [shifted, steps.add('Log', [total], reduced)]);
}

/** ((a + b) + c) + … */
function lowerSum({ inputs }: GraphNode, steps: Steps): void {
  const values = inputs as readonly Value[];
  const before = values
    .slice(1, -1)
    .reduce((sum, value) => steps.add('Add', [sum, value], value.shape), values[0]);
  steps.finish('Add', [before, values.at(-1)!]);
}

function lowerConstantOfShape({ inputs, attributes }: GraphNode, steps: Steps): void {
  const { value } = attributes;
  const fill = value && 'tensor' in value ? Number(value.tensor.data[0]) : 0;
  steps.finish('Expand', [steps.constant([fill], [1], 'float32'), inputs[0]!]);
}

/** The product of the dimensions: unlike its size, a tensor's shape is read where the tensor lies. */
function lowerSize({ inputs }: GraphNode, steps: Steps): void {
  const [x] = inputs as readonly [Value];
  const shape = steps.add('Shape', [x], [x.shape.length], {}, 'int64');
  steps.finish('ReduceProd', [shape], { keepdims: { int: 0 } });
}

/** r = 1 / √(mean(x²) + ε) is the second output, x · r · w the first. */
function lowerRmsNorm({ inputs, outputs, attributes }: GraphNode, steps: Steps): void {
  const [x, weight] = inputs as readonly [Value, Value];
  const [, inverseDeviation] = outputs as readonly [Value, Value];
  const { epsilon } = attributes;
  const reduced = inverseDeviation.shape;
  const axes = steps.constant([-1], [1], 'int64');
  const square = steps.add('Mul', [x, x], x.shape);
  const mean = steps.add('ReduceMean', [square, axes], reduced, { keepdims: { int: 1 } });
  const offset = steps.constant([epsilon && 'float' in epsilon ? epsilon.float : 0], [], 'float32');
  const deviation = steps.add('Sqrt', [steps.add('Add', [mean, offset], reduced)], reduced);
  steps.finish('Reciprocal', [deviation], {}, 1);
  steps.finish('Mul', [steps.add('Mul', [x, inverseDeviation], x.shape), weight]);
}

/** [x > 0] − [x < 0]. */
function lowerSign({ inputs }: GraphNode, steps: Steps): void {
  const [x] = inputs as readonly [Value];
  const zero = steps.constant([0], [], 'float32');
  const indicator = (op: 'Greater' | 'Less'): Value =>
    steps.add('Cast', [steps.add(op, [x, zero], x.shape, {}, 'bool')], x.shape, {
      to: { int: onnxTypeCode.float32 },
    });
  steps.finish('Sub', [indicator('Greater'), indicator('Less')]);
}
