import type { Draw } from './draw.js';
import { mutateJson } from './mutate-json.js';
import type { Mutation } from './mutate-json.js';

interface Entry {
  dtype: unknown;
  shape: unknown[];
  data_offsets: unknown[];
}

const sizes: readonly unknown[] = [
  0,
  1,
  -1,
  0.5,
  2,
  1e9,
  2 ** 31,
  2 ** 32,
  2 ** 53,
  2 ** 53 + 2,
  1e308,
  null,
  '4',
  [4],
];

/** Damages a safetensors file: its length prefix, its header's JSON or numbers, or its bytes. */
export function mutateSafetensors(draw: Draw, source: Uint8Array): Mutation {
  const headerBytes = Number(Buffer.from(source).readBigUInt64LE(0));
  const header = source.subarray(8, 8 + headerBytes);
  const data = source.subarray(8 + headerBytes);
  switch (draw.below(8)) {
    case 0:
    case 1: {
      const { bytes, description, path } = mutateJson(draw, header);
      return { bytes: assemble(bytes, data), description: `header: ${description}`, path };
    }
    case 2:
    case 3:
    case 4:
      return mutateEntry(draw, header, data);
    case 5: {
      const length = draw.pick([
        ...[
          0n,
          1n,
          2n,
          7n,
          100_000_000n,
          100_000_001n,
          1n << 31n,
          1n << 32n,
          1n << 53n,
          1n << 63n,
          (1n << 64n) - 1n,
        ],
        ...[-1, 1, 8, -8].map((delta) => BigInt(headerBytes + delta)),
        ...[-8, -7, 0].map((delta) => BigInt(source.length + delta)),
      ]);
      const bytes = Buffer.from(source);
      bytes.writeBigUInt64LE(length, 0);
      return { bytes, description: `header length ${length}, in truth ${headerBytes}`, path: null };
    }
    case 6: {
      const cut = draw.chance(0.5) ? draw.below(source.length) : draw.below(64);
      if (draw.chance(0.6))
        return { bytes: source.slice(0, cut), description: `cut after ${cut} bytes`, path: null };
      const bytes = Buffer.concat([source, Buffer.alloc(1 + draw.below(4096), draw.below(256))]);
      return { bytes, description: `${bytes.length - source.length} bytes appended`, path: null };
    }
    default: {
      const bytes = Uint8Array.from(source);
      const places = Array.from({ length: 1 + draw.below(4) }, () =>
        draw.chance(0.5) ? draw.below(8 + headerBytes) : draw.below(bytes.length),
      );
      for (const place of places)
        bytes[place] = draw.chance(0.5) ? bytes[place] ^ (1 << draw.below(8)) : draw.below(256);
      return { bytes, description: `bytes ${places.join(', ')} changed`, path: null };
    }
  }
}

function mutateEntry(draw: Draw, headerBytes: Uint8Array, data: Uint8Array): Mutation {
  const header = JSON.parse(Buffer.from(headerBytes).toString()) as Record<string, Entry>;
  const names = Object.keys(header).filter((name) => name !== '__metadata__');
  const name = draw.pick(names);
  const entry = header[name];
  const finish = (description: string, path: string[] | null = [name]): Mutation => ({
    bytes: assemble(Buffer.from(JSON.stringify(header)), data),
    description: `tensor ${name}: ${description}`,
    path,
  });
  switch (draw.below(7)) {
    case 0: {
      const end = draw.below(2);
      entry.data_offsets[end] = draw.chance(0.5)
        ? draw.pick(sizes)
        : Number(entry.data_offsets[end]) + draw.pick([1, -1, 4, -4, 8, 0.5]);
      return finish(`offsets ${JSON.stringify(entry.data_offsets)}`, null);
    }
    case 1: {
      const other = draw.pick(names);
      [entry.data_offsets, header[other].data_offsets] = [header[other].data_offsets, entry.data_offsets];
      return finish(`offsets swapped with ${other}`, null);
    }
    case 2:
      entry.data_offsets.reverse();
      return finish('offsets reversed', null);
    case 3:
      if (entry.shape.length > 0) entry.shape[draw.below(entry.shape.length)] = draw.pick(sizes);
      else entry.shape.push(draw.pick(sizes));
      return finish(`shape ${JSON.stringify(entry.shape)}`);
    case 4:
      entry.shape = draw.pick<unknown[]>([
        [],
        [0],
        [2 ** 32, 2 ** 32],
        [2 ** 53, 0],
        [1e308, 1e308],
        Array(1000).fill(1),
      ]);
      if (draw.chance(0.3)) entry.data_offsets[1] = entry.data_offsets[0];
      return finish(`shape ${JSON.stringify(entry.shape).slice(0, 80)}`, null);
    case 5: {
      const renamed = draw.pick([
        '',
        '__proto__',
        'constructor',
        'toString',
        '\u0000',
        '\ud800',
        `${name}.`,
        'x'.repeat(70_000),
      ]);
      delete header[name];
      Object.defineProperty(header, renamed, { value: entry, enumerable: true });
      return finish(`renamed to ${JSON.stringify(renamed).slice(0, 40)}`, null);
    }
    default:
      entry.dtype = draw.pick<unknown>([
        'F16',
        'BF16',
        'F64',
        'I32',
        'U8',
        'F4',
        'C64',
        '',
        'toString',
        '__proto__',
        4,
        null,
        ['F32'],
      ]);
      if (draw.chance(0.4)) entry.shape = [...entry.shape, 2];
      return finish(`type ${JSON.stringify(entry.dtype)}, shape ${JSON.stringify(entry.shape)}`);
  }
}

/** A safetensors file of a header's text and its data. */
export function assemble(header: Uint8Array, data: Uint8Array): Uint8Array {
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.byteLength));
  return Buffer.concat([length, header, data]);
}
