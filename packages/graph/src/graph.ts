import type { GraphCore, GraphOptions } from './graph-core.js';
import { createGraphCore } from './graph-core.js';
import type { ElementwiseOps } from './ops-elementwise.js';
import { createElementwiseOps } from './ops-elementwise.js';
import type { IndexingOps } from './ops-indexing.js';
import { createIndexingOps } from './ops-indexing.js';
import type { LayoutOps } from './ops-layout.js';
import { createLayoutOps } from './ops-layout.js';
import type { MatrixOps } from './ops-matrix.js';
import { createMatrixOps } from './ops-matrix.js';
import type { NeuralOps } from './ops-neural.js';
import { createNeuralOps } from './ops-neural.js';
import type { ReduceOps } from './ops-reduce.js';
import { createReduceOps } from './ops-reduce.js';

/**
 * An ONNX graph under construction. Every operator checks types and shapes when it is called and throws `GraphError`
 * naming the operator and its operands; what it returns can be used at once in the next.
 */
export interface Graph
  extends GraphCore, ElementwiseOps, MatrixOps, LayoutOps, ReduceOps, IndexingOps, NeuralOps {}

/** Starts an empty graph. The name appears in errors and in the model file. */
export function createGraph(name: string, options: GraphOptions = {}): Graph {
  const core = createGraphCore(name, options);
  const algebra = Object.assign(
    core,
    createElementwiseOps(core),
    createMatrixOps(core),
    createReduceOps(core),
  );
  return Object.assign(algebra, createLayoutOps(core), createIndexingOps(core), createNeuralOps(core));
}
