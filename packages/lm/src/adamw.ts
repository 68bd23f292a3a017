/** Hyper-parameters of one AdamW step. */
export interface OptimizerSettings {
  learningRate: number;
  beta1: number;
  beta2: number;
  epsilon: number;
  /** Decoupled weight decay; applied to matrices only, never to norms and biases. */
  weightDecay: number;
  /** Gradients are scaled down so that their global norm is at most this; Infinity switches clipping off. */
  maxGradNorm: number;
}

/** First and second moment of one parameter. */
export interface Moments {
  readonly first: Float32Array;
  readonly second: Float32Array;
}

/** Global L2 norm of several gradients, accumulated in double precision in the order given. */
export function globalNorm(gradients: Iterable<Float32Array>): number {
  let total = 0;
  for (const gradient of gradients) total += sumOfSquares(gradient);
  return Math.sqrt(total);
}

/** In four interleaved sums: one alone would wait for each addition before the next. */
function sumOfSquares(x: Float32Array): number {
  let [a, b, c, d] = [0, 0, 0, 0];
  const whole = x.length - (x.length % 4);
  for (let i = 0; i < whole; i += 4) {
    a += x[i] * x[i];
    b += x[i + 1] * x[i + 1];
    c += x[i + 2] * x[i + 2];
    d += x[i + 3] * x[i + 3];
  }
  for (let i = whole; i < x.length; i++) a += x[i] * x[i];
  return a + b + c + d;
}

/** `clip_grad_norm_` of PyTorch: maxNorm / (norm + 1e-6), at most 1. */
export function clipScale(norm: number, maxGradNorm: number): number {
  return Number.isFinite(maxGradNorm) ? Math.min(1, maxGradNorm / (norm + 1e-6)) : 1;
}

/**
 * One AdamW step in place (Loshchilov & Hutter, arXiv 1711.05101, with bias correction as in PyTorch):
 * θ ← θ(1 − ηλ) − η · m̂ / (√v̂ + ε).
 * @param step 1-based number of this step
 * @param gradientScale factor applied to the gradient first (clipping)
 */
export function adamwStep(
  parameter: Float32Array,
  gradient: Float32Array,
  moments: Moments,
  settings: OptimizerSettings & { readonly decay: boolean },
  step: number,
  gradientScale: number,
): void {
  const { beta1, beta2, epsilon, learningRate } = settings;
  const { first, second } = moments;
  const keep = settings.decay ? 1 - learningRate * settings.weightDecay : 1;
  // The corrections 1/(1 − β₁ᵗ) and 1/(1 − β₂ᵗ) and the clipping factor are the same for all elements.
  const correction = Math.sqrt(1 - beta2 ** step);
  const stepSize = (learningRate * correction) / (1 - beta1 ** step);
  const floor = epsilon * correction;
  const fresh1 = (1 - beta1) * gradientScale;
  const fresh2 = (1 - beta2) * gradientScale * gradientScale;
  for (let i = 0; i < parameter.length; i++) {
    const g = gradient[i];
    const m = beta1 * first[i] + fresh1 * g;
    const v = beta2 * second[i] + fresh2 * (g * g);
    first[i] = m;
    second[i] = v;
    parameter[i] = parameter[i] * keep - (stepSize * m) / (Math.sqrt(v) + floor);
  }
}
