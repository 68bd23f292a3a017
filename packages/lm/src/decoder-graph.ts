import { geGluTanh, linear, softCap as capped, swiGlu } from '@parley/autodiff';
import type { Dim, Graph, Value } from '@parley/graph';
import type { QuantizedMatrix } from '@parley/autodiff';
import { scaleName } from './base-weights.js';
import { parameterNames, parameterShapes } from './config-parameters.js';
import type { LinearNames, ParameterNames } from './config-parameters.js';
import type { ModelConfig } from './config.js';
import { int8Linear, quantizeRows } from './int8-linear.js';
import type { ActivationRounding, QuantizedRows } from './int8-linear.js';
import type { LoraAdapter } from './lora.js';
import type { StoredGroup, StoredMatrices } from './stored-matrices.js';

/** A model's graph under construction: what every pass (prefill, decode, score, train) shares. */
export interface DecoderBuilder {
  readonly g: Graph;
  readonly config: ModelConfig;
  readonly names: ParameterNames;
  /** The graph input of a parameter, declared on first use so that a pass asks only for what it needs. */
  readonly parameter: (name: string) => Value;
  /** A linear module's weight, or the output matrix: in 8 bits where the pass is given it so. */
  readonly matrix: (name: string) => Value | QuantizedMatrix;
  /** Names of the adapter beside a weight: A and B, or none. */
  adapterOf(weight: string): string[];
  /** Names of the parameters used so far, in the order of use. */
  used(): string[];
  /** Whether gradients will be asked for: some operators then take a form that has a gradient rule. */
  readonly differentiable: boolean;
  /**
   * `x [rows, in] → [rows, out]` plus `addend`, with the adapter's side path beside it if there is one.
   * @param computed the result, where it is known: only its gradients are built then
   */
  readonly linear: (x: Value, names: LinearNames, addend?: Value, computed?: Value) => Value;
  /** `hidden [rows, hidden]` → logits [rows, vocabulary], soft-capped where the architecture says so. */
  logits(hidden: Value): Value;
  /** RMSNorm over the last axis. */
  readonly norm: (x: Value, name: string) => Value;
}

/** Reads and mixes earlier positions: `query [rows, heads·headDim]`, `key`, `value [rows, kvHeads·headDim]` → like query. */
export type Attend = (layer: number, query: Value, key: Value, value: Value) => Value;

/** Options of {@link createDecoderBuilder}. */
export interface DecoderBuilderOptions {
  /** The base, where it is stored with the graph: matrices are products of integers then, with activations rounded as `rounding` says. */
  readonly stored?: { readonly matrices: StoredMatrices; readonly rounding: ActivationRounding };
  /** Low-rank side paths to build beside their weights (training); none when merged weights are fed. */
  readonly adapters?: readonly LoraAdapter[];
  /** Default false. */
  readonly differentiable?: boolean;
  /** Whether matrices are fed in 8 bits, as {@link BaseWeights.feeds} has them. Default false. */
  readonly quantized?: boolean;
}

/** Starts the shared part of a pass. */
export function createDecoderBuilder(
  g: Graph,
  config: ModelConfig,
  { adapters = [], differentiable = false, stored, quantized = false }: DecoderBuilderOptions = {},
): DecoderBuilder {
  const shapes = parameterShapes(config);
  const byWeight = new Map(adapters.map((adapter) => [adapter.weight, adapter]));
  for (const { nameA, shapeA, nameB, shapeB } of adapters) shapes.set(nameA, shapeA).set(nameB, shapeB);
  const declared = new Map<string, Value>();
  const constants = new Map<string, Value>();
  const declare = (name: string, shape: readonly number[], dtype: 'float32' | 'int8'): Value => {
    const value = declared.get(name) ?? g.input(name, shape, dtype);
    declared.set(name, value);
    return value;
  };
  const parameter = (name: string): Value => {
    const shape = shapes.get(name);
    if (!shape) throw new Error(`The model has no parameter ${name}.`);
    const floats = stored?.matrices.floats(name);
    if (!floats) return declare(name, shape, 'float32');
    const constant = constants.get(name) ?? g.initializer(name, shape, floats);
    constants.set(name, constant);
    return constant;
  };
  const matrix = (name: string): Value | QuantizedMatrix => {
    if (!quantized) return parameter(name);
    const [outputs, inputs] = shapes.get(name)!;
    return {
      values: declare(name, [inputs, outputs], 'int8'),
      scales: declare(scaleName(name), [outputs], 'float32'),
    };
  };
  const integers = new Map<Value, QuantizedRows>();
  const products = new Map<StoredGroup, { readonly of: Value; readonly parts: readonly Value[] }>();
  /** `x Wᵀ` plus the bias for a stored matrix, computed together with those that read the same rows. */
  const storedProduct = (x: Value, name: string): Value | undefined => {
    const group = stored?.matrices.find(name);
    if (!stored || !group) return undefined;
    const known = products.get(group);
    if (known?.of === x) return known.parts[group.names.indexOf(name)];
    const rows = integers.get(x) ?? quantizeRows(g, x, stored.rounding);
    integers.set(x, rows);
    const outputs = group.scales.length;
    const values = g.initializer(group.names[0], [x.shape[1] as number, outputs], group.values, 'int8');
    const scales = g.initializer(scaleName(group.names[0]), [outputs], group.scales);
    const product = int8Linear(g, rows, values, scales);
    const bias = group.bias && g.initializer(`${group.names[0]}.bias`, [outputs], group.bias);
    const all = bias ? g.add(product, bias) : product;
    const parts = group.names.length === 1 ? [all] : g.split(all, 1, group.sizes);
    products.set(group, { of: x, parts });
    return parts[group.names.indexOf(name)];
  };
  return {
    g,
    config,
    differentiable,
    names: parameterNames(config),
    parameter,
    matrix,
    used: () => [...declared.keys()],
    adapterOf(weight) {
      const adapter = byWeight.get(weight);
      return adapter ? [adapter.nameA, adapter.nameB] : [];
    },
    linear(x, { weight, bias }, addend, computed) {
      const adapter = byWeight.get(weight);
      const product = storedProduct(x, weight);
      return linear(g, x, product ? { product } : matrix(weight), {
        ...(bias && !product ? { bias: parameter(bias) } : {}),
        ...(addend ? { addend } : {}),
        ...(computed ? { computed } : {}),
        ...(adapter
          ? { lowRank: { a: parameter(adapter.nameA), b: parameter(adapter.nameB), scale: adapter.scale } }
          : {}),
      });
    },
    logits: (hidden) => {
      const { head } = parameterNames(config);
      const product = storedProduct(hidden, head) ?? g.gemm(hidden, parameter(head), { transB: true });
      return softCap(g, product, config.finalSoftCap);
    },
    norm: (x, name) => {
      const weight = parameter(name);
      const scale = config.normStyle === 'weight' ? weight : g.add(weight, g.scalar(1));
      return g.rmsNorm(x, scale, config.normEps).y;
    },
  };
}

/**
 * All layers and the final norm.
 * @param x embeddings [rows, hidden], not yet scaled
 * @returns hidden states [rows, hidden], ready for {@link logitsOf}
 */
export function decoderLayers(builder: DecoderBuilder, x: Value, attend: Attend): Value {
  let residual = scaledEmbeddings(builder, x);
  builder.names.layers.forEach((_, index) => {
    residual = decoderLayer(builder, residual, attend, index).output;
  });
  return builder.norm(residual, builder.names.finalNorm);
}

/** Embeddings as the first layer takes them. */
export function scaledEmbeddings({ g, config }: DecoderBuilder, x: Value): Value {
  return config.embeddingScale === 1 ? x : g.mul(x, g.scalar(config.embeddingScale));
}

/** What the linear modules of a layer give: products, which take nearly all of its time. */
export type LayerProducts = Readonly<Record<LinearRole, Value>>;
type LinearRole = 'query' | 'key' | 'value' | 'output' | 'gate' | 'up' | 'down';

/** The values of one layer. */
export interface LayerValues {
  /** Between attention and MLP. */
  readonly middle: Value;
  readonly output: Value;
  readonly products: LayerProducts;
}

/**
 * Layer `index` on `residual` [rows, hidden].
 * @param known products to take as they are, where everything else is to be computed again (see `linear`)
 */
export function decoderLayer(
  builder: DecoderBuilder,
  residual: Value,
  attend: Attend,
  index: number,
  known?: LayerProducts,
): LayerValues {
  const { g, norm } = builder;
  const layer = builder.names.layers[index];
  const linear = (role: LinearRole, x: Value, addend?: Value): Value =>
    builder.linear(x, layer[role], addend, known?.[role]);
  /** `to` plus an output projection; without a norm in between the sum is part of the product. */
  const project = (
    role: LinearRole,
    x: Value,
    to: Value,
    postNorm: string | null,
  ): [sum: Value, product: Value] => {
    const product = linear(role, x, postNorm === null ? to : undefined);
    return [postNorm === null ? product : g.add(to, norm(product, postNorm)), product];
  };
  return g.scope(`layer${index}`, () => {
    const read = norm(residual, layer.inputNorm);
    const [query, key, value] = (['query', 'key', 'value'] as const).map((role) => linear(role, read));
    const mixed = attend(
      index,
      headNorm(builder, query, layer.queryNorm),
      headNorm(builder, key, layer.keyNorm),
      value,
    );
    const [middle, attended] = project('output', mixed, residual, layer.postAttentionNorm);
    const hidden = norm(middle, layer.mlpNorm);
    const [gate, up] = (['gate', 'up'] as const).map((role) => linear(role, hidden));
    const [output, down] = project('down', gatedUnit(builder, gate, up), middle, layer.postMlpNorm);
    return { middle, output, products: { query, key, value, output: attended, gate, up, down } };
  });
}

/** RMSNorm of each head of `x [rows, heads·headDim]` by itself, where the architecture has one. */
function headNorm({ g, config, norm }: DecoderBuilder, x: Value, name: string | null): Value {
  if (name === null) return x;
  const [rows, width] = x.shape as [Dim, number];
  return g.reshape(norm(g.reshape(x, [rows, width / config.headDim, config.headDim]), name), x.shape);
}

function gatedUnit({ g, config, differentiable }: DecoderBuilder, gate: Value, up: Value): Value {
  if (config.activation === 'silu') return swiGlu(g, gate, up);
  return differentiable ? geGluTanh(g, gate, up) : g.mul(g.geluTanh(gate), up);
}

/** cap · tanh(x / cap), or x itself without a cap. */
export function softCap(g: Graph, x: Value, cap: number | null): Value {
  return cap === null ? x : capped(g, x, cap);
}
