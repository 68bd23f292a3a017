import { architectureOf } from './config.js';
import type { ModelConfig } from './config.js';
import type { LayerRole } from './config-architectures.js';

/** The parameter names of one linear module; `bias` is null where the architecture has none. */
export interface LinearNames {
  readonly weight: string;
  readonly bias: string | null;
}

/** The parameter names of one decoder layer, by role. */
export interface LayerNames {
  readonly inputNorm: string;
  readonly query: LinearNames;
  readonly key: LinearNames;
  readonly value: LinearNames;
  /** Of each head's query, before rotation; null without query and key norms. */
  readonly queryNorm: string | null;
  readonly keyNorm: string | null;
  readonly output: LinearNames;
  /** After attention, before the residual sum; null without post-norms. */
  readonly postAttentionNorm: string | null;
  /** Before the MLP. */
  readonly mlpNorm: string;
  readonly gate: LinearNames;
  readonly up: LinearNames;
  readonly down: LinearNames;
  /** After the MLP, before the residual sum; null without post-norms. */
  readonly postMlpNorm: string | null;
}

/** Every parameter's Hugging Face name, by what it does. */
export interface ParameterNames {
  readonly embedding: string;
  readonly layers: readonly LayerNames[];
  readonly finalNorm: string;
  /** The output matrix [vocabulary, hidden]; equals `embedding` when tied. */
  readonly head: string;
}

/** Names a model's parameters as its architecture does. */
export function parameterNames(config: ModelConfig): ParameterNames {
  const { layerModules } = architectureOf(config);
  const { biases } = config;
  const embedding = 'model.embed_tokens.weight';
  const layers = config.windows.map((_, layer): LayerNames => {
    const optional = (role: LayerRole): string | null =>
      layerModules[role] === undefined ? null : `model.layers.${layer}.${layerModules[role]}`;
    const required = (role: LayerRole): string => {
      const name = optional(role);
      if (name === null)
        throw new Error(`The architecture ${config.architecture} names no module for ${role}.`);
      return name;
    };
    const linear = (role: LayerRole, hasBias: boolean): LinearNames => ({
      weight: `${required(role)}.weight`,
      bias: hasBias ? `${required(role)}.bias` : null,
    });
    const norm = (role: LayerRole, exists: boolean): string | null =>
      exists ? `${required(role)}.weight` : null;
    return {
      inputNorm: `${required('inputNorm')}.weight`,
      query: linear('query', biases.queryKeyValue),
      key: linear('key', biases.queryKeyValue),
      value: linear('value', biases.queryKeyValue),
      queryNorm: norm('queryNorm', config.queryKeyNorms),
      keyNorm: norm('keyNorm', config.queryKeyNorms),
      output: linear('output', biases.output),
      postAttentionNorm: norm('postAttentionNorm', config.postNorms),
      mlpNorm: `${required('mlpNorm')}.weight`,
      gate: linear('gate', biases.mlp),
      up: linear('up', biases.mlp),
      down: linear('down', biases.mlp),
      postMlpNorm: norm('postMlpNorm', config.postNorms),
    };
  });
  return {
    embedding,
    layers,
    finalNorm: 'model.norm.weight',
    head: config.tiedEmbeddings ? embedding : 'lm_head.weight',
  };
}

/**
 * Every parameter's shape by its Hugging Face name, in the order of the forward pass. Linear weights are [out, in].
 */
export function parameterShapes(config: ModelConfig): Map<string, readonly number[]> {
  const names = parameterNames(config);
  const { hiddenSize: hidden, intermediateSize: intermediate, headDim } = config;
  const queryWidth = config.headCount * headDim;
  const kvWidth = config.kvHeadCount * headDim;
  const shapes = new Map<string, readonly number[]>([[names.embedding, [config.vocabSize, hidden]]]);
  const add = (name: string | null, shape: readonly number[]): void => {
    if (name !== null) shapes.set(name, shape);
  };
  const addLinear = ({ weight, bias }: LinearNames, outputs: number, inputs: number): void => {
    add(weight, [outputs, inputs]);
    add(bias, [outputs]);
  };
  for (const layer of names.layers) {
    add(layer.inputNorm, [hidden]);
    addLinear(layer.query, queryWidth, hidden);
    addLinear(layer.key, kvWidth, hidden);
    addLinear(layer.value, kvWidth, hidden);
    add(layer.queryNorm, [headDim]);
    add(layer.keyNorm, [headDim]);
    addLinear(layer.output, hidden, queryWidth);
    add(layer.postAttentionNorm, [hidden]);
    add(layer.mlpNorm, [hidden]);
    addLinear(layer.gate, intermediate, hidden);
    addLinear(layer.up, intermediate, hidden);
    addLinear(layer.down, hidden, intermediate);
    add(layer.postMlpNorm, [hidden]);
  }
  add(names.finalNorm, [hidden]);
  add(names.head, [config.vocabSize, hidden]);
  return shapes;
}

/** The number of scalar parameters, a tied matrix counted once. */
export function parameterCount(config: ModelConfig): number {
  return [...parameterShapes(config).values()].reduce(
    (sum, shape) => sum + shape.reduce((a, b) => a * b, 1),
    0,
  );
}
