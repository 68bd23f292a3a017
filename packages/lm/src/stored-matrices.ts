import type { ExternalData } from '@parley/graph';
import type { BaseWeights } from './base-weights.js';
import { parameterNames } from './config-parameters.js';
import type { LinearNames } from './config-parameters.js';
import type { ModelConfig } from './config.js';
import type { QuantizedMatrix } from './quantize.js';

/** A file beside a graph that its initializers refer to. */
export interface ExternalFile {
  /** Its name, relative to the graph's own file. */
  readonly location: string;
  readonly bytes: number;
  /** What it holds, one part after another. */
  parts(): Iterable<Uint8Array>;
}

/** Matrices that read the same rows, side by side as one: fewer and larger products. */
export interface StoredGroup {
  readonly names: readonly string[];
  /** Outputs of each. */
  readonly sizes: readonly number[];
  /** Where the values [inputs, Σ sizes] lie. */
  readonly values: ExternalData;
  /** [Σ sizes]. */
  readonly scales: Float32Array;
  /** [Σ sizes], zero where a matrix has none; undefined where none of them has one. */
  readonly bias: Float32Array | undefined;
}

/** A frozen base in 8 bits that is stored with a graph instead of being fed to it. */
export interface StoredMatrices {
  /** The group of a matrix; undefined for a parameter that is not among them. */
  find(name: string): StoredGroup | undefined;
  /** A parameter that stays in float32. */
  floats(name: string): Float32Array | undefined;
  readonly file: ExternalFile;
}

/** Lays the matrices of the layers out, or that of the `head`. */
export function storedMatrices(
  config: ModelConfig,
  base: BaseWeights,
  part: 'layers' | 'head',
): StoredMatrices {
  const { layers, head } = parameterNames(config);
  const wanted: LinearNames[][] =
    part === 'head'
      ? [[{ weight: head, bias: null }]]
      : layers.flatMap(({ query, key, value, output, gate, up, down }) => [
          [query, key, value],
          [output],
          [gate, up],
          [down],
        ]);
  const location = 'matrices.bin';
  const groups = new Map<string, StoredGroup>();
  let offsetBytes = 0;
  for (const linears of wanted) {
    const names = linears.map(({ weight }) => weight);
    const matrices = names.map((name) => base.quantized.get(name)!);
    const lengthBytes = matrices.reduce((sum, { values }) => sum + values.length, 0);
    const sizes = matrices.map(({ scales }) => scales.length);
    const scales = Float32Array.from(matrices.flatMap((matrix) => [...matrix.scales]));
    const group = {
      names,
      sizes,
      values: { location, offsetBytes, lengthBytes },
      scales,
      bias: biasOf(linears, sizes, base),
    };
    for (const name of names) groups.set(name, group);
    offsetBytes += lengthBytes;
  }
  return {
    find: (name) => groups.get(name),
    floats: (name) => base.floats.get(name),
    file: {
      location,
      bytes: offsetBytes,
      *parts() {
        for (const linears of wanted)
          yield sideBySide(linears.map(({ weight }) => base.quantized.get(weight)!));
      },
    },
  };
}

function biasOf(
  linears: readonly LinearNames[],
  sizes: readonly number[],
  base: BaseWeights,
): Float32Array | undefined {
  if (linears.every(({ bias }) => bias === null)) return undefined;
  return Float32Array.from(
    linears.flatMap(({ bias }, i) => [
      ...(bias === null ? new Float32Array(sizes[i]) : base.floats.get(bias)!),
    ]),
  );
}

/** Values [inputs, Σ outputs] of matrices with the same inputs. */
function sideBySide(matrices: readonly QuantizedMatrix[]): Uint8Array {
  const [first] = matrices;
  if (matrices.length === 1)
    return new Uint8Array(first.values.buffer, first.values.byteOffset, first.values.length);
  const inputs = first.values.length / first.scales.length;
  const width = matrices.reduce((sum, { scales }) => sum + scales.length, 0);
  const all = new Int8Array(inputs * width);
  let column = 0;
  for (const { values, scales } of matrices) {
    const outputs = scales.length;
    for (let i = 0; i < inputs; i++)
      all.set(values.subarray(i * outputs, (i + 1) * outputs), i * width + column);
    column += outputs;
  }
  return new Uint8Array(all.buffer);
}
