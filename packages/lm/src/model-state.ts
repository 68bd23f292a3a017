import type { Moments } from './adamw.js';
import { LmError } from './lm-error.js';
import type { ModelWeights, TrainableParameter } from './model-weights.js';
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
 * Restores an exported state in place; nothing changes unless all of it fits.
 * @param optimizer null restarts the moments and the step count
 * @throws LmError `STATE_MISMATCH` when the state is of another model or another choice of trainable weights, and what
 * reading safetensors throws.
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
  const values = trainable.map(({ name, shape }) => reader.readFloats(name, shape));
  const restored =
    optimizer === null ? { step: 0, moments: new Map<string, Moments>() } : readMoments(trainable, optimizer);
  weights.beforeChange();
  trainable.forEach(({ data }, i) => data.set(values[i]));
  state.step = restored.step;
  state.moments = restored.moments;
}

function readMoments(trainable: readonly TrainableParameter[], bytes: Uint8Array): OptimizerState {
  using reader = decodeSafetensors(bytes, 'the optimiser state to restore');
  const step = Number(reader.metadata['step']);
  if (!Number.isSafeInteger(step) || step < 0) {
    throw mismatch(reader.label, `its step count is "${reader.metadata['step']}"`);
  }
  const names = trainable.flatMap(({ name }) => [`${name}${firstSuffix}`, `${name}${secondSuffix}`]);
  checkNames(reader, new Set(names), reader.entries.size > 0);
  if (reader.entries.size === 0) return { step, moments: new Map() };
  const moments = new Map(
    trainable.map(({ name, shape }) => [
      name,
      {
        first: reader.readFloats(`${name}${firstSuffix}`, shape),
        second: reader.readFloats(`${name}${secondSuffix}`, shape),
      },
    ]),
  );
  return { step, moments };
}

function checkNames(reader: SafetensorsReader, expected: ReadonlySet<string>, complete: boolean): void {
  for (const name of reader.entries.keys())
    if (!expected.has(name)) throw mismatch(reader.label, `it has "${name}"`);
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
