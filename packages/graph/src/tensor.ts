import './no-telemetry.js';
import { Tensor } from 'onnxruntime-node';
import type { DType, TensorData } from './dtype.js';
import { allocate } from './dtype.js';

export { Tensor };

/**
 * Wraps (without copying) or allocates a tensor to feed or to fetch into. Writing to the data afterwards changes what
 * the next run sees.
 * @throws Error when the data's length does not fit the shape.
 */
export function createTensor(dtype: DType, shape: readonly number[], data?: TensorData): Tensor {
  const storage =
    data ??
    allocate(
      dtype,
      shape.reduce((product, dim) => product * dim, 1),
    );
  return new Tensor(dtype, storage as Float32Array, shape);
}
