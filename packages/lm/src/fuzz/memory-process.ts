import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { loadCheckpoint } from '../checkpoint.js';
import { readModelConfig } from '../config.js';
import { modelFolder } from '../io-test-support.js';
import { LmError } from '../lm-error.js';
import { decodeSafetensors } from '../safetensors.js';
import { loadTokenizer } from '../tokenizer.js';

/** What a memory process found out: the growth of its peak resident memory by the reading, and how that ended. */
export interface MemoryReport {
  readonly bytes: number;
  readonly message: string;
}

const readers = {
  checkpoint: (folder: string): unknown => loadCheckpoint(folder),
  bytes: (folder: string): unknown =>
    decodeSafetensors(readFileSync(join(folder, 'model.safetensors')), 'bytes'),
  tokenizer: (folder: string): unknown => loadTokenizer(folder, readModelConfig(folder)),
} as const;

/** How a memory process reads a folder. */
export type MemoryReader = keyof typeof readers;

// Whatever code and caches reading needs is there before the measurement begins.
const small = modelFolder('llama');
loadCheckpoint(small);
loadTokenizer(small, readModelConfig(small)).encode('warm');
globalThis.gc?.();

const [reader, folder] = process.argv.slice(2) as [MemoryReader, string];
const before = process.memoryUsage.rss();
let message = 'read';
try {
  readers[reader](folder);
} catch (error) {
  if (!(error instanceof LmError)) throw error;
  ({ message } = error);
}
// Unlike the peak that getrusage gives, this one leaves out the process that started this one.
const peakKilobytes = Number(/VmHWM:\s+(\d+) kB/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]);
const bytes = peakKilobytes * 1024 - before;
process.send?.({ bytes, message } satisfies MemoryReport);
