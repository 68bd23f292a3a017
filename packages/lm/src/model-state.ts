import type { Moments } from './adamw.js';
import { requireFinite } from './checkpoint.js';
import { LmError } from './lm-error.js';
import type { ModelWeights, TrainableParameter } from './model-weights.js';
import { preview } from './preview.js';
import { decodeSafetensors, encodeSafetensors } from './safetensors.js';
import type { SafetensorsReader, TensorInput } from './safetensors.js';
import type { OptimizerState } from './trainer.js';

const firstSuffix = '.exp_avg';
const secondSuffix = '.exp_avg_sq';

/** Trainable weights, and AdamW's moments with the step count, each as a safetensors file; equal states give equal bytes. */
export function exportModelState(
  trainable: readonly TrainableParameter[],
  state: OptimizerState,
): { weights: Uint8Array<ArrayBuffer>; optimizer: Uint8Array<ArrayBuffer> } {
  const weights = new Map<string, TensorInput>(
    trainable.map(({ name, shape, data }) => [name, { shape, data }]),
  );
  const moments = new Map<string, TensorInput>();
  for (const { name, shape } of trainable) {
    const own = state.moments.get(name);
    if (!own) continue;
    moments.set(`${name}${firstSuffix}`, { shape, data: own.first });
    moments.set(`${name}${secondSuffix}`, { shape, data: own.second });
  }
  return {
    weights: encodeSafetensors(weights, { format: 'pt' }),
    optimizer: encodeSafetensors(moments, { format: 'pt', step: String(state.step) }),
  };
}

/**
 * Restores an exported state in place; nothing changes unless all of it fits. Tensors are checked and then copied one by
 * one, so that no second copy of the state is held.
 * @param optimizer null restarts the moments and the step count
 * @throws LmError `STATE_MISMATCH` when the state is of another model or another choice of trainable weights,
 * `TENSOR_NOT_FINITE`, and what reading safetensors throws.
 */
export function importModelState(
  weights: ModelWeights,
  state: OptimizerState,
  weightBytes: Uint8Array,
  optimizer: Uint8Array | null,
): void {
  const { trainable } = weights;
  using reader = decodeSafetensors(weightBytes, 'the weights to restore');
  checkNames(reader, new Set(trainable.map(({ name }) => name)), true);
  for (const { name, shape } of trainable) requireFinite(reader.viewFloats(name, shape), name, reader.label);
  const restored =
    optimizer === null ? { step: 0, moments: new Map<string, Moments>() } : readMoments(trainable, optimizer);
  weights.beforeChange();
  for (const { name, shape, data } of trainable) data.set(reader.viewFloats(name, shape));
  state.step = restored.step;
  state.moments = restored.moments;
}

function readMoments(trainable: readonly TrainableParameter[], bytes: Uint8Array): OptimizerState {
  using reader = decodeSafetensors(bytes, 'the optimiser state to restore');
  const written = reader.metadata['step'];
  const step = Number(written);
  if (written === undefined || !/^\d+$/.test(written) || !Number.isSafeInteger(step)) {
    throw mismatch(reader.label, `its step count, "__metadata__.step", is ${preview(written)}`);
  }
  const names = trainable.flatMap(({ name }) => [`${name}${firstSuffix}`, `${name}${secondSuffix}`]);
  checkNames(reader, new Set(names), reader.entries.size > 0);
  if (reader.entries.size === 0) return { step, moments: new Map() };
  for (const { name, shape } of trainable) {
    reader.checkFloats(`${name}${firstSuffix}`, shape);
    reader.checkFloats(`${name}${secondSuffix}`, shape);
  }
  const moments = new Map(
    trainable.map(({ name, shape }) => {
      const first = reader.readFloats(`${name}${firstSuffix}`, shape);
      const second = reader.readFloats(`${name}${secondSuffix}`, shape);
      requireFinite(first, `${name}${firstSuffix}`, reader.label);
      requireFinite(second, `${name}${secondSuffix}`, reader.label);
      const negative = second.findIndex((value) => value < 0);
      if (negative >= 0) {
        throw mismatch(
          reader.label,
          `"${name}${secondSuffix}", a mean of squares, is ${second[negative]} at index ${negative}`,
        );
      }
      return [name, { first, second }];
    }),
  );
  return { step, moments };
}

function checkNames(reader: SafetensorsReader, expected: ReadonlySet<string>, complete: boolean): void {
  for (const name of reader.entries.keys())
    if (!expected.has(name)) throw mismatch(reader.label, `it has ${preview(name)}`);
  if (!complete) return;
  for (const name of expected)
    if (!reader.entries.has(name)) throw mismatch(reader.label, `it lacks "${name}"`);
}

function mismatch(label: string, why: string): LmError {
  return new LmError(
    'STATE_MISMATCH',
    `${label} is not of this model: ${why}. Restore it into the model it was exported from, with the same trainable setting.`,
  );
}
