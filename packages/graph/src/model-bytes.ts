import type { DType, TensorData } from './dtype.js';
import { onnxTypeCode } from './dtype.js';
import { GraphError } from './graph-error.js';
import type { ProtobufWriter } from './protobuf-writer.js';
import { createProtobufWriter } from './protobuf-writer.js';
import type { Attribute, ExternalData, GraphNode, SubgraphSource, Value } from './value.js';

/** Protobuf refuses messages of 2 GiB and more. */
const maxModelBytes = 2 ** 31 - 1;
const irVersion = 10;
const opsets = [
  { domain: '', version: 21 },
  { domain: 'com.microsoft', version: 1 },
];

/** Kernels that skip an output beyond the first that nobody reads. Others, Split among them, crash the process on a missing output. */
const optionalOutputs: ReadonlySet<string> = new Set(['SimplifiedLayerNormalization']);

/** The nodes that are written in the place of one; they give the outputs that are used. */
export type Lower = (node: GraphNode, isUsed: (value: Value) => boolean) => readonly GraphNode[];

/**
 * Serialises a graph as an ONNX `ModelProto` (onnx.proto3, IR 10, opset 21). Nodes and initializers that no output
 * depends on are left out; inputs always stay.
 * @throws GraphError when there is no output, or the model passes protobuf's 2 GB.
 */
export function toModelBytes(
  graph: SubgraphSource,
  { lower = (node) => [node] }: { readonly lower?: Lower } = {},
): Uint8Array {
  if (graph.outputs.length === 0) throw new GraphError('model', `graph "${graph.name}" has no outputs`);
  const writer = createProtobufWriter();
  writer.int(1, irVersion);
  writer.string(2, 'parley');
  writer.message(7, (w) => writeGraph(w, graph, lower));
  for (const { domain, version } of opsets)
    writer.message(8, (w) => {
      w.string(1, domain);
      w.int(2, version);
    });
  if (writer.lengthBytes > maxModelBytes)
    throw new GraphError(
      'model',
      `graph "${graph.name}" takes ${writer.lengthBytes} bytes, over protobuf's 2 GB; make its weights inputs or external data`,
    );
  return writer.finish();
}

/** Nodes some output depends on, in order, and every value they read. */
function reachable(graph: SubgraphSource): { nodes: GraphNode[]; used: Set<Value> } {
  const used = new Set<Value>(graph.outputs.map((output) => output.value));
  const nodes: GraphNode[] = [];
  for (const node of graph.nodes.toReversed()) {
    if (!node.outputs.some((output) => used.has(output))) continue;
    nodes.push(node);
    for (const input of node.inputs) if (input) used.add(input);
    for (const attribute of Object.values(node.attributes))
      if ('graph' in attribute) for (const value of reachable(attribute.graph).used) used.add(value);
  }
  return { nodes: nodes.reverse(), used };
}

/**
 * Output values are written under their public names; a value that is already named otherwise (an input, an initializer,
 * a second output of the same value) passes through an Identity.
 */
function outputNames(graph: SubgraphSource): {
  renamed: Map<Value, string>;
  copied: { from: Value; name: string }[];
} {
  const renamed = new Map<Value, string>();
  const copied: { from: Value; name: string }[] = [];
  for (const { name, value } of graph.outputs) {
    if (value.producer && value.owner === graph && !renamed.has(value)) renamed.set(value, name);
    else if (value.name !== name || renamed.has(value) || value.owner !== graph)
      copied.push({ from: value, name });
  }
  return { renamed, copied };
}

function writeGraph(
  w: ProtobufWriter,
  graph: SubgraphSource,
  lower: Lower,
  outer = new Map<Value, string>(),
): void {
  const { nodes, used } = reachable(graph);
  const { renamed, copied } = outputNames(graph);
  const names = new Map([...outer, ...renamed]);
  const nameOf = (value: Value): string => names.get(value) ?? value.name;
  const writeBranch: WriteBranch = (branch, inner) => writeGraph(inner, branch, lower, names);
  for (const node of nodes.flatMap((original) => lower(original, (value) => used.has(value))))
    writeNode(w, node, nameOf, used, writeBranch);
  for (const { from, name } of copied)
    w.message(1, (n) => {
      n.string(1, nameOf(from));
      n.string(2, name);
      n.string(3, `output/${name}`);
      n.string(4, 'Identity');
    });
  w.string(2, graph.name);
  for (const { value, data } of graph.initializers)
    if (used.has(value)) w.message(5, (t) => writeTensor(t, value, data, value.name));
  for (const input of graph.inputs) w.message(11, (v) => writeValueInfo(v, input, input.name));
  for (const { value, name } of graph.outputs) w.message(12, (v) => writeValueInfo(v, value, name));
}

/** Writes a graph that is an attribute, in which the names of the enclosing one hold. */
type WriteBranch = (branch: SubgraphSource, w: ProtobufWriter) => void;

function writeNode(
  w: ProtobufWriter,
  node: GraphNode,
  nameOf: (value: Value) => string,
  used: ReadonlySet<Value>,
  writeBranch: WriteBranch,
): void {
  w.message(1, (n) => {
    const inputs = node.inputs.map((input) => (input ? nameOf(input) : ''));
    const optional = optionalOutputs.has(node.op);
    const outputs = node.outputs.map((output, i) =>
      used.has(output) || !optional || i === 0 ? nameOf(output) : '',
    );
    for (const name of trimEnd(inputs)) n.string(1, name);
    for (const name of trimEnd(outputs)) n.string(2, name);
    n.string(3, node.name);
    n.string(4, node.op);
    for (const [name, attribute] of Object.entries(node.attributes))
      n.message(5, (a) => writeAttribute(a, name, attribute, writeBranch));
    if (node.domain) n.string(7, node.domain);
  });
}

function trimEnd(names: string[]): string[] {
  return names.slice(0, names.findLastIndex((name) => name !== '') + 1);
}

function writeAttribute(
  w: ProtobufWriter,
  name: string,
  attribute: Attribute,
  writeBranch: WriteBranch,
): void {
  w.string(1, name);
  if ('float' in attribute) {
    w.float(2, attribute.float);
    w.int(20, 1);
  } else if ('int' in attribute) {
    w.int(3, attribute.int);
    w.int(20, 2);
  } else if ('string' in attribute) {
    w.string(4, attribute.string);
    w.int(20, 3);
  } else if ('tensor' in attribute) {
    w.message(5, (t) => writeTensor(t, attribute.tensor, attribute.tensor.data));
    w.int(20, 4);
  } else if ('graph' in attribute) {
    w.message(6, (g) => writeBranch(attribute.graph, g));
    w.int(20, 5);
  } else if ('floats' in attribute) {
    for (const value of attribute.floats) w.float(7, value);
    w.int(20, 6);
  } else {
    for (const value of attribute.ints) w.int(8, value);
    w.int(20, 7);
  }
}

function writeTensor(
  w: ProtobufWriter,
  type: { readonly shape: readonly (number | string)[]; readonly dtype: DType },
  data: TensorData | ExternalData,
  name?: string,
): void {
  for (const dim of type.shape) w.int(1, dim as number);
  w.int(2, onnxTypeCode[type.dtype]);
  if (name) w.string(8, name);
  if (ArrayBuffer.isView(data)) {
    w.bytes(9, new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
    return;
  }
  const entries = { location: data.location, offset: data.offsetBytes, length: data.lengthBytes };
  for (const [key, value] of Object.entries(entries))
    w.message(13, (e) => {
      e.string(1, key);
      e.string(2, String(value));
    });
  w.int(14, 1);
}

function writeValueInfo(w: ProtobufWriter, value: Value, name: string): void {
  w.string(1, name);
  w.message(2, (type) =>
    type.message(1, (tensor) => {
      tensor.int(1, onnxTypeCode[value.dtype]);
      tensor.message(2, (shape) => {
        for (const dim of value.shape)
          shape.message(1, (d) => (typeof dim === 'number' ? d.int(1, dim) : d.string(2, dim)));
      });
    }),
  );
}
