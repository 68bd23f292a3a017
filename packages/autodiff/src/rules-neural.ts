import type { RuleTable } from './rule.js';

/** Operators onnxruntime fuses for language models. */
export const neuralRules: RuleTable = {
  // y = x r w with r = 1/sqrt(mean(x^2) + eps): with n = x r and e = d w, dx = r (e - n mean(e n)), dw = sum(d n).
  SimplifiedLayerNormalization: ({ g, d, x: [x, w], y: [, r] }) => {
    const n = g.mul(x, r);
    const e = g.mul(d, w);
    const mean = g.reduceMean(g.mul(e, n), { axes: [-1], keepDims: true });
    return [g.mul(r, g.sub(e, g.mul(n, mean))), g.mul(d, n)];
  },
  // A rotation's adjoint is the rotation by the negative angle: the sine changes sign.
  RotaryEmbedding: ({ g, d, x: [, positions, cos, sin], attributes }) => {
    const heads = attributes.num_heads && 'int' in attributes.num_heads ? attributes.num_heads.int : 1;
    return [g.rotaryEmbedding(d, positions, cos, g.neg(sin), heads), null, null, null];
  },
};
