import { parameterNames, parameterShapes } from './config-parameters.js';
import type { ModelConfig } from './config.js';
import type { Trainable } from './language-model.js';
import { LmError } from './lm-error.js';
import { fillUniform, streamOf } from './random.js';

/** One low-rank update W + scale · B · A of a linear layer with weights [out, in]. */
export interface LoraAdapter {
  /** Hugging Face name of the weight it updates. */
  readonly weight: string;
  /** PEFT's names, so that the state is an adapter other tools can read. */
  readonly nameA: string;
  readonly nameB: string;
  readonly shapeA: readonly [rank: number, inputs: number];
  readonly shapeB: readonly [outputs: number, rank: number];
  readonly scale: number;
}

/** The linear layers that LoRA updates unless told otherwise. */
export const defaultLoraTargets = [
  'q_proj',
  'k_proj',
  'v_proj',
  'o_proj',
  'gate_proj',
  'up_proj',
  'down_proj',
];

/** The weights of the linear layers that may have an adapter, in the order of the forward pass. */
export function loraLinears(config: ModelConfig): string[] {
  return parameterNames(config).layers.flatMap((layer) =>
    [layer.query, layer.key, layer.value, layer.output, layer.gate, layer.up, layer.down].map(
      (l) => l.weight,
    ),
  );
}

/** PEFT's name of a matrix beside a weight. */
export function adapterName(weight: string, matrix: 'A' | 'B'): string {
  return `base_model.model.${weight.slice(0, -'.weight'.length)}.lora_${matrix}.weight`;
}

/** The name by which targets mean a weight's layer, such as `q_proj`. */
export function moduleOf(weight: string): string {
  return weight.split('.').at(-2)!;
}

/**
 * The adapters that a LoRA setting asks for, in the order of the forward pass.
 * @throws LmError `ARGUMENT_INVALID` for a rank below 1, a non-finite alpha, or a target that names no linear layer.
 */
export function loraAdapters(config: ModelConfig, settings: Trainable & { kind: 'lora' }): LoraAdapter[] {
  const { rank, alpha } = settings;
  if (!Number.isInteger(rank) || rank < 1) {
    throw new LmError('ARGUMENT_INVALID', `trainable.rank is ${rank}; give a positive integer.`);
  }
  if (!Number.isFinite(alpha))
    throw new LmError('ARGUMENT_INVALID', `trainable.alpha is ${alpha}; give a finite number.`);
  const shapes = parameterShapes(config);
  const linears = loraLinears(config);
  const known = new Set(linears.map(moduleOf));
  const targets = settings.targets ?? defaultLoraTargets;
  for (const target of targets) {
    if (known.has(target)) continue;
    throw new LmError(
      'ARGUMENT_INVALID',
      `trainable.targets names "${target}", which ${config.architecture} does not have. Choose from ${[...known].join(', ')}.`,
      { details: { target } },
    );
  }
  return linears
    .filter((weight) => targets.includes(moduleOf(weight)))
    .map((weight) => {
      const [outputs, inputs] = shapes.get(weight) as [number, number];
      return {
        weight,
        nameA: adapterName(weight, 'A'),
        nameB: adapterName(weight, 'B'),
        shapeA: [rank, inputs],
        shapeB: [outputs, rank],
        scale: alpha / rank,
      };
    });
}

/** Initial adapter weights: A uniform in ±1/√inputs (PEFT's Kaiming with a = √5), B zero, so that training starts at W. */
export function initLora(adapters: readonly LoraAdapter[], seed: number): Map<string, Float32Array> {
  const weights = new Map<string, Float32Array>();
  for (const { nameA, nameB, shapeA, shapeB } of adapters) {
    const [rank, inputs] = shapeA;
    const a = new Float32Array(rank * inputs);
    const bound = 1 / Math.sqrt(inputs);
    fillUniform(a, -bound, bound, seed, streamOf(nameA));
    weights.set(nameA, a);
    weights.set(nameB, new Float32Array(shapeB[0] * rank));
  }
  return weights;
}
