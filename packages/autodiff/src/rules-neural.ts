import type { RuleTable } from './rule.js';

/** Operators onnxruntime fuses for language models. */
export const neuralRules: RuleTable = {
  // y = x r w with r = 1/sqrt(mean(x^2) + eps): with s = d r, dw = sum(s x) and dx = s w - x r^2 mean(s x w). The mean is
  // a product with the vector w/width.
  SimplifiedLayerNormalization: ({ g, d, x: [x, w], y: [, r], c }) => {
    const width = w.shape[0] as number;
    const s = g.mul(d, r);
    const dw = g.mul(s, x);
    const mean = g.matMul(dw, g.reshape(g.mul(w, c(1 / width)), [width, 1]));
    return [g.sub(g.mul(s, w), g.mul(x, g.mul(mean, g.mul(r, r)))), dw];
  },
  // A rotation's adjoint is the rotation by the negative angle: the sine changes sign.
  RotaryEmbedding: ({ g, d, x: [, positions, cos, sin], attributes }) => {
    const heads = attributes.num_heads && 'int' in attributes.num_heads ? attributes.num_heads.int : 1;
    return [g.rotaryEmbedding(d, positions, cos, g.neg(sin), heads), null, null, null];
  },
};
