import { createHash } from 'node:crypto';
import type { DType, TensorData } from './dtype.js';
import { bytesPerElement, toTensorData } from './dtype.js';
import { GraphError } from './graph-error.js';
import type { Dim, Shape } from './shape.js';
import { elementCount, formatShape, isStatic } from './shape.js';
import type {
  Attributes,
  Composite,
  ExternalData,
  GraphIdentity,
  GraphNode,
  GraphOutput,
  Initializer,
  OutputSpec,
  Value,
} from './value.js';

/** The part of the builder that knows nothing of particular operators. */
export interface GraphCore extends GraphIdentity {
  /** The enclosing graph of a branch or loop body. */
  readonly parent?: GraphCore;
  readonly inputs: readonly Value[];
  readonly outputs: readonly GraphOutput[];
  readonly nodes: readonly GraphNode[];
  readonly initializers: readonly Initializer[];
  readonly composites: readonly Composite[];

  /** Declares a value fed at every run. Names are unique in a graph. */
  input(name: string, shape: Shape, dtype?: DType): Value;
  /** Stores a tensor with the model (inline, or as external data). The data is not copied until serialisation. */
  initializer(name: string, shape: readonly number[], data: TensorData | ExternalData, dtype?: DType): Value;
  /** An unnamed initializer; equal contents share one. */
  constant(values: ArrayLike<number> | TensorData, shape: readonly number[], dtype?: DType): Value;
  /** A rank-0 constant. */
  scalar(value: number, dtype?: DType): Value;
  /** A rank-1 int64 constant, the form ONNX wants axes and shapes in. */
  int64s(values: readonly number[]): Value;
  /** A shape as an int64 vector: a constant when static, else computed from the inputs that carry its symbols. */
  shapeTensor(op: string, shape: Shape): Value;
  /** The stored numbers of a constant or inline initializer, in plain form; `undefined` for anything else. */
  constantNumbers(value: Value): number[] | undefined;
  /** Makes `value` a result of the session under `name`. */
  output(value: Value, name: string): void;
  /**
   * Appends any operator. The caller states the output types; typed helpers infer them.
   * @throws GraphError when an input belongs to another graph.
   */
  node(
    op: string,
    inputs: readonly (Value | null)[],
    outputs: readonly OutputSpec[],
    attributes?: Attributes,
    domain?: string,
  ): Value[];
  /** Declares that `outputs` differentiate with respect to `inputs` by the rule named `kind`. */
  composite(definition: Omit<Composite, 'endNode'>): void;
  /** Prefixes the names of everything built inside `build`, so that errors and profiles say where. */
  scope<T>(prefix: string, build: () => T): T;
}

/** Options of {@link createGraphCore}. */
export interface GraphOptions {
  /** The graph whose values this one may use: set for the branches of `If` and the body of `Loop`. */
  readonly parent?: GraphCore;
}

/** The operators' common way of describing operands: `MatMul(q [2,3], k [4,5])`. */
export function describe(op: string, operands: readonly (Value | null | undefined)[]): string {
  const list = operands.filter((v) => v != null).map((v) => `${v.name} ${formatShape(v.shape)}`);
  return `${op}(${list.join(', ')})`;
}

/** Throws a {@link GraphError} that begins with the operator and its operands. */
export function refuse(op: string, operands: readonly (Value | null | undefined)[], why: string): never {
  throw new GraphError(op, `${describe(op, operands)}: ${why}`);
}

/** A mutable graph under construction; see {@link GraphCore}. */
export function createGraphCore(name: string, options: GraphOptions = {}): GraphCore {
  const inputs: Value[] = [];
  const outputs: GraphOutput[] = [];
  const nodes: GraphNode[] = [];
  const initializers: Initializer[] = [];
  const composites: Composite[] = [];
  const names = new Set<string>();
  const constants = new Map<string, Value>();
  const symbols = new Map<string, Value>();
  const ancestors = new Set<GraphIdentity>();
  for (let g = options.parent; g; g = g.parent) ancestors.add(g);
  const scopes: string[] = options.parent ? [name] : [];
  let counter = 0;

  function uniqueName(kind: string): string {
    for (;;) {
      const candidate = [...scopes, `${kind}_${counter++}`].join('/');
      if (!names.has(candidate)) {
        names.add(candidate);
        return candidate;
      }
    }
  }
  function claim(kind: string, wanted: string): string {
    if (wanted === '') throw new GraphError(kind, `${kind}: the name is empty`);
    if (names.has(wanted))
      throw new GraphError(kind, `${kind}: the name "${wanted}" is already taken in graph "${name}"`);
    names.add(wanted);
    return wanted;
  }
  function checkShape(kind: string, label: string, shape: Shape): void {
    for (const dim of shape)
      if (typeof dim === 'number' ? !Number.isInteger(dim) || dim < 0 : dim === '')
        throw new GraphError(kind, `${kind} "${label}": ${formatShape(shape)} has an impossible dimension`);
  }
  function belongs(value: Value): boolean {
    return value.owner === core || ancestors.has(value.owner);
  }
  function store(
    kind: string,
    label: string,
    shape: readonly number[],
    data: Initializer['data'],
    dtype: DType,
  ) {
    checkShape(kind, label, shape);
    const count = elementCount(shape) as number;
    const bytes = ArrayBuffer.isView(data) ? data.byteLength : data.lengthBytes;
    if (bytes !== count * bytesPerElement[dtype])
      throw new GraphError(
        kind,
        `${kind} "${label}": ${formatShape(shape)} of ${dtype} takes ${count * bytesPerElement[dtype]} bytes, got ${bytes}`,
      );
    const value: Value = { name: label, shape: [...shape], dtype, owner: core };
    initializers.push({ value, data });
    return value;
  }

  /** The run-time size of a symbol, as an int64 vector of one element, read from an input that carries it. */
  function symbolSize(op: string, symbol: string): Value {
    const cached = symbols.get(symbol);
    if (cached) return cached;
    const factors = symbol.split('*');
    let size: Value | undefined;
    for (const input of inputs) {
      const axis = input.shape.indexOf(symbol);
      if (axis < 0) continue;
      const attributes = { start: { int: axis }, end: { int: axis + 1 } };
      [size] = core.node('Shape', [input], [{ shape: [1], dtype: 'int64' }], attributes);
      break;
    }
    if (!size && factors.length > 1)
      for (const factor of factors) {
        const part = /^\d+$/.test(factor) ? core.int64s([Number(factor)]) : symbolSize(op, factor);
        size = size ? core.node('Mul', [size, part], [{ shape: [1], dtype: 'int64' }])[0] : part;
      }
    if (!size)
      throw new GraphError(
        op,
        `${op}: the size "${symbol}" is not a dimension of any input of graph "${name}"; declare an input that carries it`,
      );
    symbols.set(symbol, size);
    return size;
  }

  const core: GraphCore = {
    name,
    ...(options.parent ? { parent: options.parent } : {}),
    inputs,
    outputs,
    nodes,
    initializers,
    composites,
    input(label, shape, dtype = 'float32') {
      checkShape('input', label, shape);
      const value: Value = { name: claim('input', label), shape: [...shape], dtype, owner: core };
      inputs.push(value);
      return value;
    },
    initializer(label, shape, data, dtype = 'float32') {
      return store('initializer', claim('initializer', label), shape, data, dtype);
    },
    constant(values, shape, dtype = 'float32') {
      const data = ArrayBuffer.isView(values) ? values : toTensorData(values, dtype);
      const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
      const content = bytes.length <= 64 ? bytes.join() : createHash('sha1').update(bytes).digest('hex');
      const key = `${dtype}${formatShape(shape)}${content}`;
      const existing = constants.get(key);
      if (existing) return existing;
      const value = store('constant', uniqueName('const'), shape, data, dtype);
      constants.set(key, value);
      return value;
    },
    scalar(value, dtype = 'float32') {
      return core.constant([value], [], dtype);
    },
    int64s(values) {
      return core.constant(values, [values.length], 'int64');
    },
    shapeTensor(op, shape) {
      if (isStatic(shape)) return core.int64s(shape);
      const parts = shape.map((dim: Dim) =>
        typeof dim === 'number' ? core.int64s([dim]) : symbolSize(op, dim),
      );
      if (parts.length === 1) return parts[0];
      const out = core.node('Concat', parts, [{ shape: [parts.length], dtype: 'int64' }], {
        axis: { int: 0 },
      });
      return out[0];
    },
    constantNumbers(value) {
      const data = initializers.find((initializer) => initializer.value === value)?.data;
      return data && ArrayBuffer.isView(data) ? Array.from(data, Number) : undefined;
    },
    output(value, label) {
      if (!belongs(value))
        throw new GraphError(
          'output',
          `output "${label}": ${value.name} belongs to graph "${value.owner.name}"`,
        );
      if (value.name !== label || outputs.some((o) => o.name === label)) claim('output', label);
      outputs.push({ name: label, value });
    },
    node(op, ins, specs, attributes = {}, domain = '') {
      for (const [i, value] of ins.entries())
        if (value && !belongs(value))
          refuse(
            op,
            ins,
            `input ${i} "${value.name}" belongs to graph "${value.owner.name}", not to "${name}"`,
          );
      const label = uniqueName(op);
      const outs: Value[] = [];
      const made: GraphNode = { name: label, op, domain, inputs: [...ins], outputs: outs, attributes };
      for (const [i, spec] of specs.entries()) {
        const out = i === 0 ? label : `${label}.${i}`;
        names.add(out);
        outs.push({ name: out, shape: [...spec.shape], dtype: spec.dtype, owner: core, producer: made });
      }
      nodes.push(made);
      return outs;
    },
    composite(definition) {
      composites.push({ ...definition, endNode: nodes.length });
    },
    scope(prefix, build) {
      scopes.push(prefix);
      try {
        return build();
      } finally {
        scopes.pop();
      }
    },
  };
  return core;
}
