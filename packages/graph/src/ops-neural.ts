import type { GraphCore } from './graph-core.js';
import { refuse } from './graph-core.js';
import type { Dim } from './shape.js';
import { formatShape } from './shape.js';
import type { Value } from './value.js';

/** Operators onnxruntime fuses for language models. */
export interface NeuralOps {
  /**
   * `y = x / sqrt(mean(x^2) + epsilon) * weight` over the last axis, and the inverse deviation `[..., 1]` its gradient
   * reuses. `weight` has the size of the last axis.
   */
  readonly rmsNorm: (x: Value, weight: Value, epsilon: number) => { y: Value; inverseDeviation: Value };
  /**
   * Rotates the halves of each head by position (`com.microsoft` RotaryEmbedding, not interleaved), as Llama, Qwen and
   * Gemma do. `x [batch, tokens, heads*headSize]`, `positions` int64 `[batch, tokens]`, `cos` and `sin`
   * `[maxPositions, headSize/2]`.
   */
  readonly rotaryEmbedding: (x: Value, positions: Value, cos: Value, sin: Value, heads: number) => Value;
}

/** Binds {@link NeuralOps} to a graph. */
export function createNeuralOps(g: GraphCore): NeuralOps {
  return {
    rmsNorm(x, weight, epsilon) {
      const op = 'SimplifiedLayerNormalization';
      const width = x.shape.at(-1);
      if (weight.shape.length !== 1 || weight.shape[0] !== width)
        refuse(op, [x, weight], `the weight must have shape [${width}]`);
      if (weight.dtype !== x.dtype) refuse(op, [x, weight], `types ${x.dtype} and ${weight.dtype} differ`);
      const attributes = { axis: { int: -1 }, epsilon: { float: epsilon }, stash_type: { int: 1 } };
      const specs = [
        { shape: x.shape, dtype: x.dtype },
        { shape: [...x.shape.slice(0, -1), 1], dtype: 'float32' as const },
      ];
      const [y, inverseDeviation] = g.node(op, [x, weight], specs, attributes) as [Value, Value];
      return { y, inverseDeviation };
    },
    rotaryEmbedding(x, positions, cos, sin, heads) {
      const op = 'RotaryEmbedding';
      const operands = [x, positions, cos, sin];
      if (x.shape.length !== 3) refuse(op, operands, 'x must be [batch, tokens, heads*headSize]');
      const [batch, tokens, width] = x.shape as [Dim, Dim, Dim];
      const headSize = typeof width === 'number' ? width / heads : NaN;
      if (!Number.isInteger(headSize / 2))
        refuse(op, operands, `${width} features are not ${heads} heads of an even size`);
      if (positions.dtype !== 'int64' || formatShape(positions.shape) !== formatShape([batch, tokens]))
        refuse(
          op,
          operands,
          `positions must be int64 ${formatShape([batch, tokens])}, got ${positions.dtype}`,
        );
      for (const table of [cos, sin])
        if (table.shape.length !== 2 || table.shape[1] !== headSize / 2)
          refuse(op, operands, `the tables must be [maxPositions,${headSize / 2}]`);
      const attributes = { interleaved: { int: 0 }, num_heads: { int: heads } };
      return g.node(op, operands, [{ shape: x.shape, dtype: x.dtype }], attributes, 'com.microsoft')[0];
    },
  };
}
