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

/** What a causal pass over whole sequences leaves for later steps: rotated keys and values [batch, kvHeads, tokens, headDim]. */
export interface LayerCache {
  readonly key: Value;
  readonly value: Value;
}

/**
 * Attention of whole sequences [batch, tokens] to themselves. Query heads that share a key head are stacked into its
 * rows, so that one product serves the group.
 * @param caches receives each layer's keys and values
 */
export function causalAttention(
  builder: DecoderBuilder,
  inputs: AttentionInputs,
  batch: Dim,
  tokens: Dim,
  caches: LayerCache[] = [],
): Attend {
  const { g, config } = builder;
  const { headDim, headCount, kvHeadCount } = config;
  const group = headCount / kvHeadCount;
  const rows = productOf([batch, tokens]);
  const stacked = productOf([group, tokens]);
  const rotate = (x: Value, heads: number): Value =>
    g.rotaryEmbedding(
      g.reshape(x, [batch, tokens, heads * headDim]),
      inputs.positions,
      inputs.cos,
      inputs.sin,
      heads,
    );
  const perHead = (x: Value): Value =>
    g.transpose(g.reshape(x, [batch, tokens, kvHeadCount, headDim]), [0, 2, 1, 3]);
  return (layer, query, key, value) => {
    const split = g.reshape(rotate(query, headCount), [batch, tokens, kvHeadCount, group, headDim]);
    const q = g.reshape(g.transpose(split, [0, 2, 3, 1, 4]), [batch, kvHeadCount, stacked, headDim]);
    const k = perHead(rotate(key, kvHeadCount));
    const v = perHead(value);
    caches.push({ key: k, value: v });
    const out = attention(g, q, k, v, {
      scale: config.queryScale,
      mask: inputs.mask(layer),
      ...(config.attentionSoftCap === null ? {} : { softCap: config.attentionSoftCap }),
    });
    const mixed = g.reshape(out, [batch, kvHeadCount, group, tokens, headDim]);
    return g.reshape(g.transpose(mixed, [0, 3, 1, 2, 4]), [rows, headCount * headDim]);
  };
}

/**
 * Attention of one new token a row to cached positions and itself. The cache is an input and is not rewritten here: the
 * new keys and values are returned for the caller to store, because fetching a cache back would copy all of it.
 */
export function cachedAttention(
  builder: DecoderBuilder,
  inputs: AttentionInputs,
  batch: Dim,
  cached: Dim,
  fresh: LayerCache[],
): Attend {
  const { g, config } = builder;
  const { headDim, headCount, kvHeadCount } = config;
  const group = headCount / kvHeadCount;
  const rotate = (x: Value, heads: number): Value =>
    g.rotaryEmbedding(
      g.reshape(x, [batch, 1, heads * headDim]),
      inputs.positions,
      inputs.cos,
      inputs.sin,
      heads,
    );
  const heads = (x: Value, perKv: number): Value => g.reshape(x, [batch, kvHeadCount, perKv, headDim]);
  return (layer, query, key, value) => {
    const pastKey = g.input(`past.${layer}.key`, [batch, kvHeadCount, cached, headDim]);
    const pastValue = g.input(`past.${layer}.value`, [batch, kvHeadCount, cached, headDim]);
    const q = heads(rotate(query, headCount), group);
    const k = heads(rotate(key, kvHeadCount), 1);
    const v = heads(value, 1);
    fresh.push({ key: k, value: v });
    const score = (keys: Value): Value =>
      softCap(g, g.fusedMatMul(q, keys, { transB: true, alpha: config.queryScale }), config.attentionSoftCap);
    const past = g.add(score(pastKey), inputs.mask(layer));
    const joined = g.softmax(concatKeys(builder, past, score(k)));
    const [pastWeights, ownWeight] = splitKeys(builder, joined, past.shape);
    const mixed = g.add(g.matMul(pastWeights, pastValue), g.mul(ownWeight, v));
    return g.reshape(mixed, [batch, headCount * headDim]);
  };
}

/** Puts a token's own score before those of the cache, so that the split point is known when the graph is built. */
function concatKeys({ g }: DecoderBuilder, past: Value, own: Value): Value {
  const [batch, heads, group, cached] = past.shape as [Dim, Dim, Dim, Dim];
  const total = typeof cached === 'number' ? cached + 1 : `${cached}+1`;
  const shape = [batch, heads, group, total];
  return g.node('Concat', [own, past], [{ shape, dtype: 'float32' }], { axis: { int: -1 } })[0];
}

function splitKeys(
  { g }: DecoderBuilder,
  joined: Value,
  pastShape: readonly Dim[],
): [past: Value, own: Value] {
  const cut = (start: number, end: number, shape: readonly Dim[]): Value =>
    g.node(
      'Slice',
      [joined, g.int64s([start]), g.int64s([end]), g.int64s([3])],
      [{ shape, dtype: 'float32' }],
    )[0];
  const own = [...pastShape.slice(0, 3), 1];
  return [cut(1, 2 ** 31, pastShape), cut(0, 1, own)];
}
