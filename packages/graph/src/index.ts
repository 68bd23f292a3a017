export { assertDevice } from './assert-device.js';
export { bytesPerElement, isFloat, onnxTypeCode } from './dtype.js';
export type { DType, TensorData } from './dtype.js';
export { createGraph } from './graph.js';
export type { Graph } from './graph.js';
export type { GraphCore, GraphOptions } from './graph-core.js';
export { GraphError } from './graph-error.js';
export { toModelBytes } from './model-bytes.js';
export type { ElementwiseOps } from './ops-elementwise.js';
export type { IndexingOps } from './ops-indexing.js';
export type { LayoutOps } from './ops-layout.js';
export type { FusedMatMulOptions, GemmOptions, Int8ProductOptions, MatrixOps } from './ops-matrix.js';
export type { NeuralOps } from './ops-neural.js';
export type { ReduceOps, ReduceOptions } from './ops-reduce.js';
export { createSession } from './session.js';
export type { Device, ModelSource, Session, SessionOptions } from './session.js';
export {
  broadcastShapes,
  elementCount,
  formatShape,
  isStatic,
  normalizeAxis,
  productOf,
  sameShape,
} from './shape.js';
export type { Dim, Shape } from './shape.js';
export { Tensor, createTensor } from './tensor.js';
export type {
  Attribute,
  Attributes,
  Composite,
  ExternalData,
  GraphIdentity,
  GraphNode,
  GraphOutput,
  Initializer,
  OutputSpec,
  SubgraphSource,
  Value,
} from './value.js';
