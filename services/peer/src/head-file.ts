import { fromJsonString, toJsonString } from '@bufbuild/protobuf';
import { VersionCommittedSchema } from '@parley/contracts';
import type { VersionCommitted } from '@parley/contracts';
import { committedStateFormat, decodeSafetensors, encodeSafetensors } from '@parley/lm';
import type { ModelState, SafetensorsReader } from '@parley/lm';
import { createLedger } from './ledger.js';
import type { Ledger, LedgerRecord } from './ledger.js';

/** What a peer's committed state is, beside the weights and moments themselves. */
export interface Head {
  /** Name of the peer in the mesh. */
  readonly peer: string;
  readonly version: number;
  /** SHA-256 of the checkpoint the peer started from. */
  readonly baseSha256: string;
  /** What trains, as {@link describeTrainable} writes it: `full`, or `lora` with its rank, scale and layers. */
  readonly method: string;
  /** SHA-256 of the trainable weights, a safetensors file of their own. */
  readonly weightsSha256: string;
  readonly ledger: Ledger;
  /** The event of the commit that made this version; `undefined` at version 0. */
  readonly lastCommitted: VersionCommitted | undefined;
}

/** A head with its weights and moments. */
export interface HeadWithState {
  readonly head: Head;
  readonly state: ModelState;
}

/**
 * Lays a head out as a safetensors file. The engine's two files ride in it whole, as the byte tensors `weights` and
 * `optimizer`, so that what comes back has the digest it went in with.
 *
 * @param optimizerSha256 - SHA-256 of `state.optimizer`
 */
export function encodeHead({ head, state }: HeadWithState, optimizerSha256: string): Uint8Array<ArrayBuffer> {
  const { lastCommitted, ledger } = head;
  const tensors = new Map([
    ['weights', { shape: [state.weights.byteLength], data: state.weights }],
    ['optimizer', { shape: [state.optimizer.byteLength], data: state.optimizer }],
  ]);
  return encodeSafetensors(tensors, {
    format: committedStateFormat,
    peer: head.peer,
    version: String(head.version),
    base_sha256: head.baseSha256,
    method: head.method,
    weights_sha256: head.weightsSha256,
    optimizer_sha256: optimizerSha256,
    ledger: JSON.stringify(ledger.toRecord()),
    ...(lastCommitted && { last_committed: toJsonString(VersionCommittedSchema, lastCommitted) }),
  });
}

/**
 * Reads what {@link encodeHead} wrote, and checks it.
 *
 * @param digest - SHA-256 of bytes, lower-case hexadecimal
 * @throws an Error that says what is wrong, without naming the file
 */
export async function decodeHead(
  bytes: Uint8Array,
  digest: (bytes: Uint8Array) => Promise<string>,
): Promise<HeadWithState> {
  using reader = decodeSafetensors(bytes, 'the file');
  const text = textOf(reader);
  if (text('format') !== committedStateFormat)
    throw new Error(`its format is ${text('format')}, this version of Parley reads ${committedStateFormat}`);
  const version = Number(text('version'));
  if (!Number.isSafeInteger(version) || version < 0) throw new Error(`its version is ${text('version')}`);
  const peer = text('peer');
  const lastCommitted = reader.metadata['last_committed'];
  const part = async (name: 'weights' | 'optimizer') => {
    const content = reader.readBytes(name);
    const [found, wanted] = [await digest(content), text(`${name}_sha256`)];
    if (found !== wanted) throw new Error(`its ${name} have SHA-256 ${found}, but ${wanted} were written`);
    return content;
  };
  return {
    head: {
      peer,
      version,
      baseSha256: text('base_sha256'),
      method: text('method'),
      weightsSha256: text('weights_sha256'),
      ledger: createLedger(peer, JSON.parse(text('ledger')) as LedgerRecord),
      lastCommitted:
        lastCommitted === undefined ? undefined : fromJsonString(VersionCommittedSchema, lastCommitted),
    },
    state: { weights: await part('weights'), optimizer: await part('optimizer') },
  };
}

function textOf({ metadata }: SafetensorsReader): (key: string) => string {
  return (key) => {
    const value = metadata[key];
    if (value === undefined) throw new Error(`its metadata has no "${key}"`);
    return value;
  };
}
