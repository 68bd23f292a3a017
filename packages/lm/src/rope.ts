import type { ModelConfig } from './config.js';

/** Rotary tables, each [positions, headDim / 2]. */
export interface RopeTables {
  readonly cos: Float32Array;
  readonly sin: Float32Array;
}

/**
 * Angular frequency of each rotated pair (Su et al., arXiv 2104.09864), stretched as Llama-3 does when the configuration
 * says so: long wavelengths by `factor`, short ones not at all, those between interpolated.
 * Rounded to float32 at the same places as transformers, so that far positions agree.
 */
export function ropeFrequencies({ headDim, rope }: Pick<ModelConfig, 'headDim' | 'rope'>): Float32Array {
  const frequencies = new Float32Array(headDim / 2);
  for (let i = 0; i < frequencies.length; i++)
    frequencies[i] = 1 / Math.fround(rope.theta ** ((2 * i) / headDim));
  const { scaling } = rope;
  if (!scaling) return frequencies;
  const { factor, lowFreqFactor, highFreqFactor, originalMaxPositions } = scaling;
  return frequencies.map((frequency) => {
    const turns = (originalMaxPositions * frequency) / (2 * Math.PI);
    if (turns < lowFreqFactor) return frequency / factor;
    if (turns > highFreqFactor) return frequency;
    const smooth = (turns - lowFreqFactor) / (highFreqFactor - lowFreqFactor);
    return ((1 - smooth) * frequency) / factor + smooth * frequency;
  });
}

/** Cosines and sines for positions 0 … positions − 1. */
export function ropeTables(config: Pick<ModelConfig, 'headDim' | 'rope'>, positions: number): RopeTables {
  const frequencies = ropeFrequencies(config);
  const half = frequencies.length;
  const cos = new Float32Array(positions * half);
  const sin = new Float32Array(positions * half);
  for (let p = 0; p < positions; p++) {
    for (let i = 0; i < half; i++) {
      const angle = Math.fround(p * frequencies[i]);
      cos[p * half + i] = Math.cos(angle);
      sin[p * half + i] = Math.sin(angle);
    }
  }
  return { cos, sin };
}
