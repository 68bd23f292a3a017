import { createGraph, productOf } from '@parley/graph';
import type { Graph, Value } from '@parley/graph';
import { attentionInputs, cachedAttention, causalAttention } from './attention-graph.js';
import type { LayerCache } from './attention-graph.js';
import type { ModelConfig } from './config.js';
import { createDecoderBuilder, decoderLayers, logitsOf } from './decoder-graph.js';
import { samplingHead } from './sampling-head.js';
import type { SamplingMode } from './sampling-head.js';

/** A graph with the parameters it is fed, by Hugging Face name. */
export interface PassGraph {
  readonly graph: Graph;
  readonly parameters: readonly string[];
}

/**
 * Prefill: whole prompts [B, T], padded on the right.
 * Inputs `x` [B·T, hidden], `last` int64 [B, 1] (index of each prompt's last token), positions, rope tables, masks
 * [1, 1, 1, T, T] and those of {@link samplingHead}. Outputs the head's for the token after each prompt, `new.N.key` and
 * `new.N.value` [B, kvHeads, T, headDim].
 */
export function buildPrefill(config: ModelConfig, mode: SamplingMode): PassGraph {
  const graph = createGraph('prefill');
  const builder = createDecoderBuilder(graph, config);
  const x = graph.input('x', [productOf(['B', 'T']), config.hiddenSize]);
  const last = graph.input('last', ['B', 1], 'int64');
  const inputs = attentionInputs(builder, 'B', 'T', [1, 1, 1, 'T', 'T']);
  const caches: LayerCache[] = [];
  const hidden = decoderLayers(builder, x, causalAttention(builder, inputs, 'B', 'T', caches));
  const ends = graph.gatherRows(graph.reshape(hidden, ['B', 'T', config.hiddenSize]), last);
  samplingHead(graph, logitsOf(builder, ends), mode);
  outputCaches(graph, caches);
  return { graph, parameters: builder.used() };
}

/**
 * One decoding step of B sequences with a cache of S positions.
 * Inputs `x` [B, hidden], positions [B, 1], rope tables, masks [B, 1, 1, S], `past.N.key` and `past.N.value`
 * [B, kvHeads, S, headDim], and those of {@link samplingHead}. Outputs the head's and the new `new.N.key`,
 * `new.N.value` [B, kvHeads, 1, headDim].
 */
export function buildDecode(config: ModelConfig, mode: SamplingMode): PassGraph {
  const graph = createGraph('decode');
  const builder = createDecoderBuilder(graph, config);
  const x = graph.input('x', ['B', config.hiddenSize]);
  const inputs = attentionInputs(builder, 'B', 1, ['B', 1, 1, 'S']);
  const fresh: LayerCache[] = [];
  const hidden = decoderLayers(builder, x, cachedAttention(builder, inputs, 'B', 'S', fresh));
  samplingHead(graph, logitsOf(builder, hidden), mode);
  outputCaches(graph, fresh);
  return { graph, parameters: builder.used() };
}

/**
 * Hidden states of chosen rows of whole sequences [B, T], padded on the right.
 * Inputs `x` [B·T, hidden], `rows` int64 [M], positions, rope tables, masks [1, 1, 1, T, T]. Output `hidden` [M, hidden].
 */
export function buildHiddenStates(config: ModelConfig): PassGraph {
  const graph = createGraph('hidden-states');
  const builder = createDecoderBuilder(graph, config);
  const x = graph.input('x', [productOf(['B', 'T']), config.hiddenSize]);
  const rows = graph.input('rows', ['M'], 'int64');
  const inputs = attentionInputs(builder, 'B', 'T', [1, 1, 1, 'T', 'T']);
  const hidden = decoderLayers(builder, x, causalAttention(builder, inputs, 'B', 'T'));
  graph.output(graph.gather(hidden, rows), 'hidden');
  return { graph, parameters: builder.used() };
}

/**
 * Log-probabilities of given tokens. Inputs `hidden` [M, hidden], `labels` int64 [M, 1]; output `logProbs` [M, 1].
 * Apart from the layers so that a wide vocabulary can be scored a few rows at a time.
 */
export function buildTokenLogProbs(config: ModelConfig): PassGraph {
  const graph = createGraph('token-log-probs');
  const builder = createDecoderBuilder(graph, config);
  const hidden = graph.input('hidden', ['M', config.hiddenSize]);
  const labels = graph.input('labels', ['M', 1], 'int64');
  const logProbs = graph.logSoftmax(logitsOf(builder, hidden));
  graph.output(graph.gatherElements(logProbs, labels, 1), 'logProbs');
  return { graph, parameters: builder.used() };
}

function outputCaches(graph: Graph, caches: readonly LayerCache[]): void {
  caches.forEach(({ key, value }: { key: Value; value: Value }, layer) => {
    graph.output(key, `new.${layer}.key`);
    graph.output(value, `new.${layer}.value`);
  });
}
