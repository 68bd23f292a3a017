import type { DType, TensorData } from './dtype.js';
import type { Dim, Shape } from './shape.js';

/** A tensor in a graph: an input, an initializer or a node's output. Immutable; belongs to one graph. */
export interface Value {
  readonly name: string;
  readonly shape: Shape;
  readonly dtype: DType;
  /** The graph that made this value. */
  readonly owner: GraphIdentity;
  /** The node that computes it; absent for inputs and initializers. */
  readonly producer?: GraphNode;
}

/** What a value needs to know of its graph. */
export interface GraphIdentity {
  readonly name: string;
}

/** An ONNX attribute, with its kind spelled out because JavaScript has one number type. */
export type Attribute =
  | { readonly int: number }
  | { readonly float: number }
  | { readonly string: string }
  | { readonly ints: readonly number[] }
  | { readonly floats: readonly number[] }
  | {
      readonly tensor: {
        readonly dtype: DType;
        readonly shape: readonly number[];
        readonly data: TensorData;
      };
    }
  | { readonly graph: SubgraphSource };

/** A graph used as the body of `If` or `Loop`; any `Graph` is one. */
export interface SubgraphSource extends GraphIdentity {
  readonly inputs: readonly Value[];
  readonly outputs: readonly GraphOutput[];
  readonly nodes: readonly GraphNode[];
  readonly initializers: readonly Initializer[];
}

/** Attributes of a node by name. */
export type Attributes = Readonly<Record<string, Attribute>>;

/** One operator of a graph. `null` marks an optional input that is left out. */
export interface GraphNode {
  readonly name: string;
  readonly op: string;
  /** `''` for standard ONNX, `com.microsoft` for onnxruntime's own operators. */
  readonly domain: string;
  readonly inputs: readonly (Value | null)[];
  readonly outputs: readonly Value[];
  readonly attributes: Attributes;
}

/** Bytes kept beside the model file (ONNX external data), for models over protobuf's 2 GB. */
export interface ExternalData {
  /** File name relative to the model file. */
  readonly location: string;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
}

/** A tensor stored with the model. */
export interface Initializer {
  readonly value: Value;
  readonly data: TensorData | ExternalData;
}

/** A value the session returns, under its public name. */
export interface GraphOutput {
  readonly name: string;
  readonly value: Value;
}

/** What a node will produce: the inferred type of one output. */
export interface OutputSpec {
  readonly shape: readonly Dim[];
  readonly dtype: DType;
}

/**
 * A stretch of nodes that differentiates as one operator, with its own rule in `@parley/autodiff`. The nodes stay
 * ordinary; `saved` carries the intermediate values the rule reuses.
 */
export interface Composite {
  /** Key of the gradient rule. */
  readonly kind: string;
  readonly inputs: readonly (Value | null)[];
  readonly outputs: readonly Value[];
  readonly saved: Readonly<Record<string, Value>>;
  /** Static facts the rule needs, such as a scale. */
  readonly options: Readonly<Record<string, number>>;
  /** Nodes of the graph when the composite was closed: it is differentiated before any earlier node. */
  readonly endNode: number;
}
