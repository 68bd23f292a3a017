import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { LmError } from './lm-error.js';
import { parseTrainable } from './describe-trainable.js';
import type { Trainable } from './language-model.js';
import { readSafetensors } from './safetensors.js';
import type { SafetensorsReader } from './safetensors.js';

/** The layout of `head.safetensors`; see the peer's state store. */
export const committedStateFormat = 'parley.head.1';

/** What an export needs of a peer's committed state. */
export interface CommittedState {
  /** Name of the peer in its mesh. */
  readonly peer: string;
  readonly version: number;
  /** Digest of the checkpoint it started from. */
  readonly baseSha256: string;
  readonly trainable: Trainable;
  /** Trainable weights, a safetensors file as `LanguageModel.exportState` gives it. */
  readonly weights: Uint8Array<ArrayBuffer>;
}

/**
 * Reads the state folder of a peer that does not run, or of one that does: its files are only ever replaced whole.
 * @param version a version that is still kept; the committed one unless given
 * @throws LmError `FILE_MISSING`, `STATE_MISMATCH`, and what `readSafetensors` throws; each names the file.
 */
export function readCommittedState(folder: string, version?: number): CommittedState {
  const head = readHead(join(folder, 'head.safetensors'));
  if (version === undefined || version === head.version) return head;
  return { ...head, version, weights: readVersion(join(folder, 'versions', `${version}.safetensors`)) };
}

function readHead(path: string): CommittedState {
  using reader = readSafetensors(path);
  const text = (key: string): string => {
    const value = reader.metadata[key];
    if (value === undefined) throw damaged(reader, `its metadata has no "${key}"`);
    return value;
  };
  if (text('format') !== committedStateFormat) {
    throw damaged(
      reader,
      `its format is ${text('format')}, this version of Parley reads ${committedStateFormat}`,
    );
  }
  const version = Number(text('version'));
  const trainable = parseTrainable(text('method'));
  if (trainable === undefined) throw damaged(reader, `its training method is "${text('method')}"`);
  const weights = reader.readBytes('weights');
  const found = createHash('sha256').update(weights).digest('hex');
  if (found !== text('weights_sha256')) {
    throw damaged(reader, `its weights have SHA-256 ${found}, but ${text('weights_sha256')} were written`);
  }
  return { peer: text('peer'), version, baseSha256: text('base_sha256'), trainable, weights };
}

function readVersion(path: string): Uint8Array<ArrayBuffer> {
  try {
    return new Uint8Array(readFileSync(path));
  } catch (cause) {
    throw new LmError(
      'FILE_MISSING',
      `${path} cannot be read: ${(cause as Error).message}. Give a version that is kept.`,
      {
        details: { file: path },
        cause,
      },
    );
  }
}

function damaged({ label }: SafetensorsReader, why: string): LmError {
  return new LmError('STATE_MISMATCH', `${label} is no committed state that can be read: ${why}.`, {
    details: { file: label },
  });
}
