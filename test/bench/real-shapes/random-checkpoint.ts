import { closeSync, existsSync, mkdirSync, openSync, renameSync, writeFileSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { parameterShapes } from '@parley/lm';
import { configOf } from './shapes.js';
import type { ModelShape } from './shapes.js';

/** 1 in bfloat16. */
const one = 0x3f80;

/**
 * Makes a Hugging Face model folder with random weights in bf16, unless it is there: matrices uniform in ±2^-5, norms one, biases
 * zero. One tensor is in memory at a time. Without a tokenizer, for nothing here makes text.
 */
export function makeRandomCheckpoint(folder: string, shape: ModelShape): void {
  if (existsSync(join(folder, 'config.json'))) return;
  mkdirSync(folder, { recursive: true });
  const shapes = [...parameterShapes(configOf(shape))];
  const header: Record<string, unknown> = { __metadata__: { format: 'pt' } };
  let offset = 0;
  for (const [name, dims] of shapes) {
    const end = offset + 2 * product(dims);
    header[name] = { dtype: 'BF16', shape: dims, data_offsets: [offset, end] };
    offset = end;
  }
  const text = Buffer.from(JSON.stringify(header));
  const padded = Buffer.concat([text, Buffer.alloc(-text.length & 7, ' ')]);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(padded.length));
  const path = join(folder, 'model.safetensors');
  const file = openSync(path, 'w');
  try {
    writeAll(file, Buffer.concat([length, padded]));
    const random = createBits(1);
    for (const [name, dims] of shapes) {
      const values = new Uint16Array(product(dims));
      if (dims.length > 1) fillRandom(values, random);
      else if (!name.endsWith('.bias')) values.fill(one);
      writeAll(file, Buffer.from(values.buffer));
    }
  } finally {
    closeSync(file);
  }
  writeWhole(join(folder, 'config.json'), JSON.stringify({ ...shape, dtype: 'bfloat16' }, null, 2));
}

/** bfloat16 values with a random sign and fraction and an exponent from 2^-8 to 2^-5. */
function fillRandom(values: Uint16Array, random: () => number): void {
  for (let i = 0; i < values.length; i++) {
    const bits = random();
    values[i] = (bits & 0x807f) | ((119 + ((bits >>> 8) & 3)) << 7);
  }
}

/** xorshift32 (Marsaglia 2003). */
function createBits(seed: number): () => number {
  let state = seed;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
}

function writeAll(file: number, bytes: Buffer): void {
  for (let at = 0; at < bytes.length;) at += writeSync(file, bytes, at);
}

/** The file is there whole or not at all: its presence says that the folder is complete. */
function writeWhole(path: string, text: string): void {
  const unfinished = join(dirname(path), '.unfinished');
  writeFileSync(unfinished, text);
  renameSync(unfinished, path);
}

function product(dims: readonly number[]): number {
  return dims.reduce((a, b) => a * b, 1);
}
