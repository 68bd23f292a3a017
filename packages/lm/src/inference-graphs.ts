import { createGraph, productOf } from '@parley/graph';
import type { Graph } from '@parley/graph';
import { attentionInputs, extendAttention } from './attention-graph.js';
import type { LayerCache } from './attention-graph.js';
import type { ModelConfig } from './config.js';
import { createDecoderBuilder, decoderLayers } from './decoder-graph.js';
import type { DecoderBuilderOptions } from './decoder-graph.js';
import { samplingHead } from './sampling-head.js';
import type { SamplingMode } from './sampling-head.js';
import type { ExternalFile } from './stored-matrices.js';

/** A graph with the parameters it is fed, by Hugging Face name. */
export interface PassGraph {
  readonly graph: Graph;
  readonly parameters: readonly string[];
  /** What its initializers refer to. A graph that has it is never compiled twice while its session is kept. */
  readonly external?: ExternalFile;
}

/**
 * All layers over T new tokens of B rows after S cached positions: prefill (S = 0, or piece by piece), decoding (T = 1), and
 * scoring (the rows' answers after what they share).
 * Inputs `x` [B·T, hidden] (embeddings), `rows` int64 [M] (rows of B·T whose hidden states are wanted), positions [B, T], rope
 * tables, masks and what else {@link extendAttention} takes. Outputs `hidden` [M, hidden], and `new.N.key`,
 * `new.N.value` [B, kvHeads, T, headDim].
 */
export function buildExtend(config: ModelConfig, options: DecoderBuilderOptions): PassGraph {
  const graph = createGraph('extend');
  const builder = createDecoderBuilder(graph, config, options);
  const x = graph.input('x', [productOf(['B', 'T']), config.hiddenSize]);
  const rows = graph.input('rows', ['M'], 'int64');
  const inputs = attentionInputs(builder, 'B', 'T', ['masks', 1, 1, 'T', 'T+S']);
  const caches: LayerCache[] = [];
  const hidden = decoderLayers(builder, x, extendAttention(builder, inputs, 'B', 'T', caches));
  graph.output(graph.gather(hidden, rows), 'hidden');
  caches.forEach(({ key, value }, layer) => {
    graph.output(key, `new.${layer}.key`);
    graph.output(value, `new.${layer}.value`);
  });
  return withFile({ graph, parameters: builder.used() }, options);
}

/** Logits of the next token. Input `hidden` [M, hidden]; output `logits` [M, vocabulary]. */
export function buildLogits(config: ModelConfig, options: DecoderBuilderOptions): PassGraph {
  const graph = createGraph('logits');
  const builder = createDecoderBuilder(graph, config, options);
  graph.output(builder.logits(graph.input('hidden', ['M', config.hiddenSize])), 'logits');
  return withFile({ graph, parameters: builder.used() }, options);
}

function withFile(pass: PassGraph, { stored }: DecoderBuilderOptions): PassGraph {
  return stored ? { ...pass, external: stored.matrices.file } : pass;
}

/** What is wanted of the next token: a draw from its distribution, or the log-probabilities of given ones. */
export type HeadMode = SamplingMode | 'score';

/**
 * What is wanted of the next token, from hidden states or, with `fromLogits`, from logits that were computed before: a matrix that
 * is stored with its graph is there once only if one graph has it.
 * Input `hidden` [B, hidden] or `logits` [B, vocabulary], and those of {@link samplingHead}, or for `score` `labels` int64 [B, 1],
 * whose output is `logProbs` [B, 1].
 */
export function buildHead(config: ModelConfig, mode: HeadMode, fromLogits: boolean): PassGraph {
  const graph = createGraph(`head-${mode}`);
  const builder = createDecoderBuilder(graph, config);
  const logits = fromLogits
    ? graph.input('logits', ['B', config.vocabSize])
    : builder.logits(graph.input('hidden', ['B', config.hiddenSize]));
  if (mode === 'score') {
    const labels = graph.input('labels', ['B', 1], 'int64');
    graph.output(graph.gatherElements(graph.logSoftmax(logits), labels, 1), 'logProbs');
  } else {
    samplingHead(graph, logits, mode);
  }
  return { graph, parameters: builder.used() };
}
