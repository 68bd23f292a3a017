import { geGluTanh, linear, softCap as capped, swiGlu } from '@parley/autodiff';
import type { Dim, Graph, Value } from '@parley/graph';
import { parameterNames, parameterShapes } from './config-parameters.js';
import type { LinearNames, ParameterNames } from './config-parameters.js';
import type { ModelConfig } from './config.js';
import type { LoraAdapter } from './lora.js';

/** A model's graph under construction: what every pass (prefill, decode, score, train) shares. */
export interface DecoderBuilder {
  readonly g: Graph;
  readonly config: ModelConfig;
  readonly names: ParameterNames;
  /** The graph input of a parameter, declared on first use so that a pass asks only for what it needs. */
  readonly parameter: (name: string) => Value;
  /** Names of the parameters used so far, in the order of use. */
  used(): string[];
  /** Whether gradients will be asked for: some operators then take a form that has a gradient rule. */
  readonly differentiable: boolean;
  /** `x [rows, in] → [rows, out]` plus `addend`, with the adapter's side path beside it if there is one. */
  linear(x: Value, names: LinearNames, addend?: Value): Value;
  /** RMSNorm over the last axis. */
  readonly norm: (x: Value, name: string) => Value;
}

/** Reads and mixes earlier positions: `query [rows, heads·headDim]`, `key`, `value [rows, kvHeads·headDim]` → like query. */
export type Attend = (layer: number, query: Value, key: Value, value: Value) => Value;

/** Options of {@link createDecoderBuilder}. */
export interface DecoderBuilderOptions {
  /** Low-rank side paths to build beside their weights (training); none when merged weights are fed. */
  readonly adapters?: readonly LoraAdapter[];
  /** Default false. */
  readonly differentiable?: boolean;
}

/** Starts the shared part of a pass. */
export function createDecoderBuilder(
  g: Graph,
  config: ModelConfig,
  { adapters = [], differentiable = false }: DecoderBuilderOptions = {},
): DecoderBuilder {
  const shapes = parameterShapes(config);
  const byWeight = new Map(adapters.map((adapter) => [adapter.weight, adapter]));
  for (const { nameA, shapeA, nameB, shapeB } of adapters) shapes.set(nameA, shapeA).set(nameB, shapeB);
  const declared = new Map<string, Value>();
  const parameter = (name: string): Value => {
    const existing = declared.get(name);
    if (existing) return existing;
    const shape = shapes.get(name);
    if (!shape) throw new Error(`The model has no parameter ${name}.`);
    const value = g.input(name, shape);
    declared.set(name, value);
    return value;
  };
  return {
    g,
    config,
    differentiable,
    names: parameterNames(config),
    parameter,
    used: () => [...declared.keys()],
    linear(x, { weight, bias }, addend) {
      const adapter = byWeight.get(weight);
      return linear(g, x, parameter(weight), {
        ...(bias ? { bias: parameter(bias) } : {}),
        ...(addend ? { addend } : {}),
        ...(adapter
          ? { lowRank: { a: parameter(adapter.nameA), b: parameter(adapter.nameB), scale: adapter.scale } }
          : {}),
      });
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
  const { g, config, names, norm } = builder;
  /** `residual` plus a sub-layer's output projection; without a norm in between the sum is part of the product. */
  const addProjection = (
    residual: Value,
    input: Value,
    projection: LinearNames,
    postNorm: string | null,
  ): Value =>
    postNorm === null
      ? builder.linear(input, projection, residual)
      : g.add(residual, norm(builder.linear(input, projection), postNorm));
  let residual = config.embeddingScale === 1 ? x : g.mul(x, g.scalar(config.embeddingScale));
  names.layers.forEach((layer, index) => {
    g.scope(`layer${index}`, () => {
      const read = norm(residual, layer.inputNorm);
      const mixed = attend(
        index,
        headNorm(builder, builder.linear(read, layer.query), layer.queryNorm),
        headNorm(builder, builder.linear(read, layer.key), layer.keyNorm),
        builder.linear(read, layer.value),
      );
      residual = addProjection(residual, mixed, layer.output, layer.postAttentionNorm);
      const hidden = norm(residual, layer.mlpNorm);
      const gated = gatedUnit(builder, builder.linear(hidden, layer.gate), builder.linear(hidden, layer.up));
      residual = addProjection(residual, gated, layer.down, layer.postMlpNorm);
    });
  });
  return norm(residual, names.finalNorm);
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

/** `hidden [rows, hidden]` → logits [rows, vocabulary], soft-capped where the architecture says so. */
export function logitsOf({ g, config, names, parameter }: DecoderBuilder, hidden: Value): Value {
  return softCap(g, g.gemm(hidden, parameter(names.head), { transB: true }), config.finalSoftCap);
}

/** cap · tanh(x / cap), or x itself without a cap. */
export function softCap(g: Graph, x: Value, cap: number | null): Value {
  return cap === null ? x : capped(g, x, cap);
}
