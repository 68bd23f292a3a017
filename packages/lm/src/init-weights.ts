import { parameterNames, parameterShapes } from './config-parameters.js';
import type { ModelConfig } from './config.js';
import type { Tensor } from './language-model.js';
import { LmError } from './lm-error.js';
import { fillNormal, streamOf } from './random.js';

/** The value of a norm's weight that changes nothing. */
function neutralNorm(config: ModelConfig): number {
  return config.normStyle === 'weight' ? 1 : 0;
}

/**
 * Random initial weights for training from scratch: matrices and embeddings normal with the configuration's
 * `initializer_range` (default 0.02), norms neutral, biases zero. Every parameter draws from its own stream of the seed,
 * so that its values do not depend on the others.
 * @param given values that replace the random ones, by name
 * @param take is given one parameter after another, in the order of `parameterShapes`
 * @throws LmError `TENSOR_UNEXPECTED`, `TENSOR_SHAPE_MISMATCH`, `TENSOR_NOT_FINITE` for `given`.
 */
export function initWeights(
  config: ModelConfig,
  seed: number,
  given: ReadonlyMap<string, Tensor>,
  take: (name: string, values: Float32Array) => void,
): void {
  const range = config.source['initializer_range'];
  const standardDeviation = typeof range === 'number' ? range : 0.02;
  const shapes = parameterShapes(config);
  for (const [name, tensor] of given) checkGiven(name, tensor, shapes.get(name));
  const norms = normNames(config);
  for (const [name, shape] of shapes) {
    const data = new Float32Array(shape.reduce((a, b) => a * b, 1));
    const replacement = given.get(name);
    if (replacement) data.set(replacement.data);
    else if (norms.has(name)) data.fill(neutralNorm(config));
    else if (shape.length > 1) fillNormal(data, standardDeviation, seed, streamOf(name));
    take(name, data);
  }
}

function normNames(config: ModelConfig): Set<string> {
  const names = parameterNames(config);
  const perLayer = names.layers.flatMap((l) => [
    l.inputNorm,
    l.queryNorm,
    l.keyNorm,
    l.postAttentionNorm,
    l.mlpNorm,
    l.postMlpNorm,
  ]);
  return new Set([names.finalNorm, ...perLayer.filter((name) => name !== null)]);
}

function checkGiven(name: string, tensor: Tensor, shape: readonly number[] | undefined): void {
  if (!shape) {
    throw new LmError(
      'TENSOR_UNEXPECTED',
      `weights names "${name}", which this configuration does not have.`,
      {
        details: { tensor: name },
      },
    );
  }
  const size = shape.reduce((a, b) => a * b, 1);
  if (tensor.shape.join() !== shape.join() || tensor.data.length !== size) {
    throw new LmError(
      'TENSOR_SHAPE_MISMATCH',
      `weights gives "${name}" as [${tensor.shape.join(', ')}] with ${tensor.data.length} values; expected [${shape.join(', ')}].`,
      { details: { tensor: name } },
    );
  }
  if (!tensor.data.every(Number.isFinite)) {
    throw new LmError('TENSOR_NOT_FINITE', `weights gives "${name}" with NaN or infinite values.`, {
      details: { tensor: name },
    });
  }
}
