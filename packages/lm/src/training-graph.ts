import { after, gradients, vocabularyHead } from '@parley/autodiff';
import type { Target } from '@parley/autodiff';
import { createGraph, productOf } from '@parley/graph';
import type { Dim, Graph, Value } from '@parley/graph';
import { attentionInputs, causalAttention } from './attention-graph.js';
import type { LinearNames } from './config-parameters.js';
import type { ModelConfig } from './config.js';
import { createDecoderBuilder, decoderLayer, scaledEmbeddings } from './decoder-graph.js';
import type { Attend, DecoderBuilder, LayerProducts, LayerValues } from './decoder-graph.js';
import type { PassGraph } from './inference-graphs.js';
import type { LoraAdapter } from './lora.js';

/** What distinguishes one training graph of a model from another. */
export interface TrainingShape {
  /** Parts that the loss is computed in, see {@link lossChunks}. */
  readonly chunks: number;
  /** Whether there is a KL term. */
  readonly anchored: boolean;
  /** What is kept for the backward pass; null for the losses alone, without gradients. */
  readonly keep: Kept | null;
  /** Whether the base is fed in 8 bits. */
  readonly quantized: boolean;
}

/**
 * What is kept of a layer from the forward to the backward pass: `all` its values; its input and the `products` of its linear
 * modules, so that norms, attention and activations are computed again (a few percent of a step); or its `input` alone, so that
 * everything is (about a quarter of a step, or a third).
 */
export type Kept = 'all' | 'products' | 'input';

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
/** Rows that a chunk of the loss has at least, however wide: fewer make slow products. */
const minChunkRows = 256;
/** The same where memory is short, for a step about a tenth slower. */
const minChunkRowsWhenShort = 128;

/** Chunks, equal in size, that the losses of `rows` rows are computed in. */
export function lossChunks(config: ModelConfig, rows: number, keep: Kept | null): number {
  return Math.ceil(rows / lossChunkRows(config, keep));
}

/** Most rows of a chunk, for a pass that keeps this. */
export function lossChunkRows(config: ModelConfig, keep: Kept | null): number {
  const least = keep === 'input' ? minChunkRowsWhenShort : minChunkRows;
  return Math.max(least, Math.floor(maxLogits / config.vocabSize));
}

/** The name of an input or output of one chunk of the loss. */
export function chunkName(name: string, chunk: number): string {
  return `${name}.${chunk}`;
}

/**
 * One forward and backward pass over whole sequences [B, T], padded on the right.
 *
 * Inputs: `x` [B·T, hidden] (embeddings), positions, rope tables, masks [1, 1, 1, T, T]; `place` int64 [B·T] (a row's index
 * among all rows that have a target, C·M if it has none); a sum for every gradient but that of `x`; and for every chunk c < C
 * of the loss: `rows.c` int64 [M] (which rows have a target), `labels.c` int64 [M], `weight.crossEntropy.c` [M] and, anchored,
 * `weight.divergence.c` [M], `reference.hidden.c` [M, hidden]; {@link referenceHeadName} if anchored and the head trains.
 *
 * Outputs: `nll.c` [M] and `kl.c` [M], unweighted, and the gradients of Σ weights · losses, added to the sums that were fed:
 * of every adapter, or else of every parameter and of `x` (unless `keep` is null). A sum may be fed and fetched in the same memory. The embedding table
 * is no input of its own: it is looked up and its gradient scattered outside, because scattering inside races.
 */
export function buildTraining(
  config: ModelConfig,
  adapters: readonly LoraAdapter[],
  shape: TrainingShape,
): PassGraph {
  const g = createGraph('train');
  const builder = createDecoderBuilder(g, config, {
    adapters,
    differentiable: true,
    quantized: shape.quantized,
  });
  const x = g.input('x', [productOf(['B', 'T']), config.hiddenSize]);
  const inputs = attentionInputs(builder, 'B', 'T', [1, 1, 1, 'T', 'T']);
  const attend = causalAttention(builder, inputs, 'B', 'T');
  const training: TrainingBuilder = { builder, attend, found: new Map(), trainsAll: adapters.length === 0 };

  let residual = scaledEmbeddings(builder, x);
  const layers = builder.names.layers.map((_, index) => {
    const input = residual;
    const values = decoderLayer(builder, input, attend, index);
    residual = values.output;
    return { input, ...values };
  });
  const last = losses(training, residual, shape);
  if (shape.keep !== null) {
    const place = g.input('place', [productOf(['B', 'T'])], 'int64');
    let d = spreadRows(g, last, place, config.hiddenSize);
    for (const [index, layer] of [...layers.entries()].reverse()) {
      d = layerGradient(training, layer, index, d, shape.keep);
    }
    if (training.trainsAll) {
      const scale = config.embeddingScale;
      training.found.set('x', scale === 1 ? d : g.mul(d, g.scalar(scale)));
    }
  }
  for (const [name, gradient] of training.found) g.output(gradient, gradientName(name));
  return { graph: g, parameters: builder.used() };
}

/** A training graph under construction. */
interface TrainingBuilder {
  readonly builder: DecoderBuilder;
  readonly attend: Attend;
  /** The gradients so far, by parameter. */
  readonly found: Map<string, Value>;
  /** Whether all parameters train, or adapters alone. */
  readonly trainsAll: boolean;
}

/**
 * The losses as outputs, and their gradient with respect to the last layer's output at the rows that have a target,
 * [C·M, hidden]; without gradients, those rows themselves.
 */
function losses(training: TrainingBuilder, output: Value, { chunks, anchored, keep }: TrainingShape): Value {
  const { builder, trainsAll } = training;
  const { g, config } = builder;
  const head = builder.matrix(builder.names.head);
  const referenceHead =
    anchored && trainsAll ? g.input(referenceHeadName, [config.vocabSize, config.hiddenSize]) : head;
  const parts: Value[] = [];
  for (let i = 0; i < chunks; i++) {
    const input = (name: string, shape: readonly Dim[] = ['M']): Value =>
      g.input(
        chunkName(name, i),
        shape,
        shape.length === 1 && !name.startsWith('weight') ? 'int64' : 'float32',
      );
    const [rows, labels] = [input('rows'), input('labels')];
    // One chunk after the other, so that the logits of only one exist at a time.
    const chosen = g.gather(output, after(g, rows, parts.slice(-1)));
    const { nll, kl } = vocabularyHead(g, builder.norm(chosen, builder.names.finalNorm), head, labels, {
      ...(config.finalSoftCap === null ? {} : { softCap: config.finalSoftCap }),
      ...(anchored
        ? {
            reference: { hidden: input('reference.hidden', ['M', config.hiddenSize]), weight: referenceHead },
          }
        : {}),
    });
    g.output(nll, chunkName('nll', i));
    if (keep === null) {
      parts.push(after(g, chosen, [nll]));
      continue;
    }
    const targets = [{ value: nll, seed: input('weight.crossEntropy') }];
    if (kl) {
      g.output(kl, chunkName('kl', i));
      targets.push({ value: kl, seed: input('weight.divergence') });
    }
    const trained = trainsAll ? [builder.names.finalNorm, builder.names.head] : [];
    parts.push(backward(training, targets, chosen, trained));
  }
  return parts.length === 1 ? parts[0] : g.concat(parts, 0);
}

/** A layer's values, from its input on. */
interface KeptLayer extends LayerValues {
  readonly input: Value;
}

/** The gradient with respect to a layer's input, from that of its output. */
function layerGradient(
  training: TrainingBuilder,
  values: KeptLayer,
  index: number,
  d: Value,
  keep: Kept,
): Value {
  const { input, middle, output } = keep === 'all' ? values : rebuilt(training, values, index, d, keep);
  const names = layerParameters(training, index);
  const dMiddle = backward(training, [{ value: output, seed: d }], middle, names.mlp);
  return backward(training, [{ value: middle, seed: dMiddle }], input, names.attention);
}

/** The layer once more, to be computed when `d` is there: neither early, nor as one with the forward pass. */
function rebuilt(
  { builder, attend }: TrainingBuilder,
  { input, products }: KeptLayer,
  index: number,
  d: Value,
  keep: Kept,
): KeptLayer {
  const again = (value: Value): Value => after(builder.g, value, [d]);
  const roles = Object.entries(products).map(([role, value]) => [role, again(value)]);
  const known = keep === 'products' ? (Object.fromEntries(roles) as LayerProducts) : undefined;
  const start = again(input);
  return { input: start, ...decoderLayer(builder, start, attend, index, known) };
}

/**
 * Gradients of `targets`, those of the `trained` parameters added to what was found before or fed.
 * @returns the gradient with respect to `input`, to be had once those of the parameters are computed: they would wait until
 * the end otherwise, and hold all they are computed from in memory
 */
function backward(
  training: TrainingBuilder,
  targets: readonly Target[],
  input: Value,
  trained: readonly string[],
): Value {
  const { builder, found } = training;
  const { g } = builder;
  const parameters = trained.map((name) => builder.parameter(name));
  const sums = trained.map((name, i) => found.get(name) ?? g.input(sumName(name), parameters[i].shape));
  const [dInput, ...results] = gradients(g, targets, [input, ...parameters], [null, ...sums]);
  trained.forEach((name, i) => found.set(name, results[i]));
  return after(g, dInput, results);
}

/** The trained parameters of a layer, by its halves. */
function layerParameters(
  { builder, trainsAll }: TrainingBuilder,
  index: number,
): { readonly attention: string[]; readonly mlp: string[] } {
  const layer = builder.names.layers[index];
  const of = (linears: readonly LinearNames[], norms: readonly (string | null)[]): string[] =>
    trainsAll
      ? [...linears.flatMap(({ weight, bias }) => [weight, bias]), ...norms].filter((name) => name !== null)
      : linears.flatMap(({ weight }) => builder.adapterOf(weight));
  return {
    attention: of(
      [layer.query, layer.key, layer.value, layer.output],
      [layer.inputNorm, layer.queryNorm, layer.keyNorm, layer.postAttentionNorm],
    ),
    mlp: of([layer.gate, layer.up, layer.down], [layer.mlpNorm, layer.postMlpNorm]),
  };
}

/** The adjoint of gathering distinct rows, itself as a gather: rows that were not gathered take an extra row of zeros. */
function spreadRows(g: Graph, gradient: Value, place: Value, width: number): Value {
  return g.gather(g.concat([gradient, g.constant(new Float32Array(width), [1, width])], 0), place);
}
