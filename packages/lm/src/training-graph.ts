import { gradients, vocabularyHead } from '@parley/autodiff';
import { createGraph, productOf } from '@parley/graph';
import type { Dim, Graph, Value } from '@parley/graph';
import { attentionInputs, causalAttention } from './attention-graph.js';
import type { ModelConfig } from './config.js';
import { createDecoderBuilder, decoderLayers } from './decoder-graph.js';
import type { PassGraph } from './inference-graphs.js';
import type { LoraAdapter } from './lora.js';

/** What distinguishes one training graph of a model from another. */
export interface TrainingShape {
  /** Rows whose losses are computed, padding included; a symbol if they may be any number that is one chunk ({@link isOneChunk}). */
  readonly rows: Dim;
  /** Whether there is a KL term. */
  readonly anchored: boolean;
}

/** The output that holds the gradient of a parameter, or of the embeddings fed as `x`. */
export function gradientName(name: string): string {
  return `gradient.${name}`;
}

/** The input that a gradient is added to before it comes out under {@link gradientName}. */
export function sumName(name: string): string {
  return `sum.${name}`;
}

/** The input for the reference's output matrix, where the model's own one trains. */
export const referenceHeadName = 'reference.head';

/** Logits held at once while the loss is computed, in elements (64 MiB); a wider loss is computed in chunks. */
const maxLogits = 1 << 24;

/** Whether the losses of so many rows are computed at once. One graph then serves any number of rows up to it. */
export function isOneChunk(config: ModelConfig, rows: number): boolean {
  return rows * config.vocabSize <= maxLogits;
}

/**
 * One forward and backward pass over whole sequences [B, T], padded on the right.
 *
 * Inputs: `x` [B·T, hidden] (embeddings), positions, rope tables, masks [1, 1, 1, T, T]; `rows` int64 [M] (which rows
 * have a target), `place` int64 [B·T] (the inverse: a row's index among them, M if it has none), `labels` int64 [M],
 * `weight.crossEntropy` [M] and, anchored, `weight.divergence` [M], `reference.hidden` [M, hidden] and
 * {@link referenceHeadName} (where the head trains); and a sum for every gradient but that of `x`.
 *
 * Outputs: `nll` [M] and `kl` [M], unweighted, and the gradients of Σ weights · losses, added to the sums that were fed:
 * of every adapter, or else of every parameter and of `x`. A sum may be fed and fetched in the same memory. The embedding table is no input of its own: it is looked up and its gradient scattered
 * outside, because scattering inside races.
 */
export function buildTraining(
  config: ModelConfig,
  adapters: readonly LoraAdapter[],
  { rows: count, anchored }: TrainingShape,
): PassGraph {
  const g = createGraph('train');
  const builder = createDecoderBuilder(g, config, { adapters, differentiable: true });
  const x = g.input('x', [productOf(['B', 'T']), config.hiddenSize]);
  const rows = g.input('rows', [count], 'int64');
  const place = g.input('place', [productOf(['B', 'T'])], 'int64');
  const labels = g.input('labels', [count], 'int64');
  const inputs = attentionInputs(builder, 'B', 'T', [1, 1, 1, 'T', 'T']);
  const hidden = decoderLayers(builder, x, causalAttention(builder, inputs, 'B', 'T'));
  const layerParameters = builder.used();

  const chosen = g.gather(hidden, rows);
  const head = builder.parameter(builder.names.head);
  const trainsHead = adapters.length === 0;
  const reference = anchored
    ? {
        hidden: g.input('reference.hidden', [count, config.hiddenSize]),
        weight: trainsHead ? g.input(referenceHeadName, head.shape) : head,
      }
    : undefined;
  const { nll, kl } = vocabularyHead(g, chosen, head, labels, {
    chunkTokens: Math.max(1, Math.floor(maxLogits / config.vocabSize)),
    ...(config.finalSoftCap === null ? {} : { softCap: config.finalSoftCap }),
    ...(reference ? { reference } : {}),
  });
  const targets = [{ value: nll, seed: g.input('weight.crossEntropy', [count]) }];
  if (kl) targets.push({ value: kl, seed: g.input('weight.divergence', [count]) });
  const sumOf = (name: string): Value => g.input(sumName(name), builder.parameter(name).shape);
  const { head: headName } = builder.names;
  const [chosenGradient, headGradient] = trainsHead
    ? gradients(g, targets, [chosen, head], [null, sumOf(headName)])
    : gradients(g, targets, [chosen]);

  const seed = spreadRows(g, chosenGradient, place, config.hiddenSize);
  const trained = trainsHead ? layerParameters : adapters.flatMap(({ nameA, nameB }) => [nameA, nameB]);
  const wrt = trained.map((name) => builder.parameter(name));
  const sums = trained.map(sumOf);
  const found = trainsHead
    ? gradients(g, [{ value: hidden, seed }], [x, ...wrt], [null, ...sums])
    : gradients(g, [{ value: hidden, seed }], wrt, sums);

  g.output(nll, 'nll');
  if (kl) g.output(kl, 'kl');
  const names = trainsHead ? ['x', ...trained] : trained;
  found.forEach((gradient, i) => g.output(gradient, gradientName(names[i])));
  if (headGradient) g.output(headGradient, gradientName(headName));
  return { graph: g, parameters: builder.used() };
}

/** The adjoint of gathering distinct rows, itself as a gather: rows that were not gathered take an extra row of zeros. */
function spreadRows(g: Graph, gradient: Value, place: Value, width: number): Value {
  return g.gather(g.concat([gradient, g.constant(new Float32Array(width), [1, width])], 0), place);
}
