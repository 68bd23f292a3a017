import { attention } from '@parley/autodiff';
import { productOf } from '@parley/graph';
import type { Dim, Value } from '@parley/graph';
import { softCap } from './decoder-graph.js';
import type { Attend, DecoderBuilder } from './decoder-graph.js';

/** Inputs that every pass needs beside the embeddings. */
export interface AttentionInputs {
  /** int64 [batch, tokens]: the position of each row. */
  readonly positions: Value;
  /** Rotary tables [positions, headDim / 2]. */
  readonly cos: Value;
  readonly sin: Value;
  /** The additive mask of layer `layer`; layers with the same window share one. */
  mask(layer: number): Value;
}

/** Name of the mask input of a layer, by its window. */
export function maskName(window: number | null): string {
  return window === null ? 'mask' : `mask.window${window}`;
}

/**
 * Declares the inputs of attention.
 * @param tokens tokens of a row in this pass
 * @param maskShape shape of a mask, broadcast to [batch, kvHeads, group, tokens, keys]
 */
export function attentionInputs(
  { g, config }: DecoderBuilder,
  batch: Dim,
  tokens: Dim,
  maskShape: readonly Dim[],
): AttentionInputs {
  const half = config.headDim / 2;
  const masks = new Map(config.windows.map((w) => [maskName(w), w]));
  const values = new Map([...masks.keys()].map((name) => [name, g.input(name, maskShape)]));
  return {
    positions: g.input('positions', [batch, tokens], 'int64'),
    cos: g.input('rope.cos', ['P', half]),
    sin: g.input('rope.sin', ['P', half]),
    mask: (layer) => values.get(maskName(config.windows[layer] ?? null))!,
  };
}

/** What a pass leaves for later ones: rotated keys and values [batch, kvHeads, tokens, headDim]. */
export interface LayerCache {
  readonly key: Value;
  readonly value: Value;
}

/**
 * Attention of whole sequences [batch, tokens] to themselves. Query heads that share a key head are stacked into its
 * rows, so that one product serves the group.
 */
export function causalAttention(
  builder: DecoderBuilder,
  inputs: AttentionInputs,
  batch: Dim,
  tokens: Dim,
): Attend {
  const { g, config } = builder;
  const { headCount, kvHeadCount } = config;
  const { split, join, perHead, rotate } = headLayout(builder, inputs, batch, tokens);
  return (layer, query, key, value) => {
    const q = split(rotate(query, headCount));
    const k = perHead(rotate(key, kvHeadCount));
    const v = perHead(value);
    const out = attention(g, q, k, v, {
      scale: config.queryScale,
      mask: inputs.mask(layer),
      ...(config.attentionSoftCap === null ? {} : { softCap: config.attentionSoftCap }),
    });
    return join(out);
  };
}

/**
 * Attention of new tokens [batch, tokens] to cached positions and causally to one another: a whole prompt (nothing cached), a
 * piece of one, or one token a row. Declares `past.N.key` and `past.N.value` [pastBatch, kvHeads, cached, headDim]; pastBatch is batch,
 * or 1 for what all rows share. The cache is not rewritten here: new keys and values are returned for the caller to store, because
 * fetching a cache back would copy all of it.
 *
 * A token's own scores stand before those of the cache, so that where a row of scores is cut is known beforehand.
 * @param inputs with masks [maskBatch, 1, 1, tokens, tokens + cached] ({@link extendMask}), maskBatch like pastBatch
 * @param caches receives each layer's new keys and values
 */
export function extendAttention(
  builder: DecoderBuilder,
  inputs: AttentionInputs,
  batch: Dim,
  tokens: Dim,
  caches: LayerCache[],
): Attend {
  const { g, config } = builder;
  const { headDim, headCount, kvHeadCount } = config;
  const group = headCount / kvHeadCount;
  const stacked = productOf([group, tokens]);
  const { split, join, perHead, rotate } = headLayout(builder, inputs, batch, tokens);
  return (layer, query, key, value) => {
    const past = (side: string): Value =>
      g.input(`past.${layer}.${side}`, ['pastRows', kvHeadCount, 'S', headDim]);
    const [pastKey, pastValue] = [past('key'), past('value')];
    const q = split(rotate(query, headCount));
    const k = perHead(rotate(key, kvHeadCount));
    const v = perHead(value);
    caches.push({ key: k, value: v });
    const shapeOf = (count: Dim) => ({ shape: [batch, kvHeadCount, stacked, count], dtype: q.dtype });
    // Nodes by hand, because rows of a shared cache broadcast, which symbols cannot tell.
    const scores = (keys: Value, count: Dim): Value => {
      const attributes = { transB: { int: 1 }, alpha: { float: config.queryScale } };
      return g.node('FusedMatMul', [q, keys], [shapeOf(count)], attributes, 'com.microsoft')[0];
    };
    const all = `${tokens}+S`;
    const raw = [scores(k, tokens), scores(pastKey, 'S')];
    const [joined] = g.node('Concat', raw, [shapeOf(all)], { axis: { int: -1 } });
    const capped = softCap(g, joined, config.attentionSoftCap);
    const perQuery = g.reshape(capped, [batch, kvHeadCount, group, tokens, all]);
    const [masked] = g.node('Add', [perQuery, inputs.mask(layer)], [perQuery]);
    const weights = g.reshape(g.softmax(masked), shapeOf(all).shape);
    const ownCount = g.shape(k, 2, 3);
    const part = (from: Value, to: Value, count: Dim): Value =>
      g.node('Slice', [weights, from, to, g.int64s([3])], [shapeOf(count)])[0];
    const mixedOwn = g.matMul(part(g.int64s([0]), ownCount, tokens), v);
    const pastWeights = part(ownCount, g.int64s([2 ** 31]), 'S');
    const [mixedPast] = g.node('MatMul', [pastWeights, pastValue], [mixedOwn]);
    return join(g.add(mixedOwn, mixedPast));
  };
}

/** How rows [batch · tokens, heads · headDim] become heads and back. */
function headLayout({ g, config }: DecoderBuilder, inputs: AttentionInputs, batch: Dim, tokens: Dim) {
  const { headDim, headCount, kvHeadCount } = config;
  const group = headCount / kvHeadCount;
  const stacked = productOf([group, tokens]);
  return {
    /** Applies the rotary positions: → [batch, tokens, heads · headDim]. */
    rotate: (x: Value, heads: number): Value =>
      g.rotaryEmbedding(
        g.reshape(x, [batch, tokens, heads * headDim]),
        inputs.positions,
        inputs.cos,
        inputs.sin,
        heads,
      ),
    /** Queries, those that share a key head one after another: → [batch, kvHeads, group · tokens, headDim]. */
    split: (x: Value): Value => {
      const apart = g.reshape(x, [batch, tokens, kvHeadCount, group, headDim]);
      return g.reshape(g.transpose(apart, [0, 2, 3, 1, 4]), [batch, kvHeadCount, stacked, headDim]);
    },
    /** Keys or values: → [batch, kvHeads, tokens, headDim]. */
    perHead: (x: Value): Value =>
      g.transpose(g.reshape(x, [batch, tokens, kvHeadCount, headDim]), [0, 2, 1, 3]),
    /** The inverse of `split`: → [batch · tokens, heads · headDim]. */
    join: (x: Value): Value => {
      const apart = g.reshape(x, [batch, kvHeadCount, group, tokens, headDim]);
      return g.reshape(g.transpose(apart, [0, 3, 1, 2, 4]), [
        productOf([batch, tokens]),
        headCount * headDim,
      ]);
    },
  };
}
