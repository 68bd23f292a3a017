import { create } from '@bufbuild/protobuf';
import { AppliedRestoreSchema } from '@parley/contracts';
import type { RestoreRequest } from '@parley/contracts';
import { ParleyError } from '@parley/runtime';
import type { StateStore } from './state-store.js';
import type { Change } from './versioned-model.js';
import type { WeightsStore } from './weights-store.js';

/**
 * The change that a restore asks for: earlier weights as a new version, moments and step count cleared. `prepare` throws
 * ParleyError REQUEST_INVALID without an id or a source, VERSION_NOT_KEPT for weights that are no longer kept,
 * DIGEST_MISMATCH (DATA_LOSS); the engine refuses weights of another model with TENSOR_INVALID. Nothing changes then.
 */
export function restoreChange(request: RestoreRequest, store: StateStore, weights: WeightsStore): Change {
  const { requestId, reason, source } = request;
  const restored = source.case === 'version' ? { restoredVersion: source.value } : {};
  return {
    activity: 'loading',
    cause: { case: 'restore', value: create(AppliedRestoreSchema, { requestId, reason, ...restored }) },
    madeBefore: (ledger) => ledger.versionOfRestore(requestId),
    record: (ledger, version) => ledger.withRestore(requestId, version),
    async prepare() {
      if (requestId === '') throw new ParleyError('REQUEST_INVALID', 'The restore has no request_id');
      const content = await readSource(source, store, weights);
      return async (model) => {
        await model.importState({ weights: content });
        return undefined;
      };
    },
  };
}

async function readSource(
  source: RestoreRequest['source'],
  store: StateStore,
  weights: WeightsStore,
): Promise<Uint8Array> {
  switch (source.case) {
    case 'version':
      return keptWeights(store, source.value);
    case 'weights':
      return weights.get(source.value);
    case undefined:
      throw new ParleyError(
        'REQUEST_INVALID',
        'The restore names neither a version nor weights; give one of them',
      );
  }
}

/** Trainable weights of a version. @throws ParleyError VERSION_NOT_KEPT if the peer does not keep it */
export async function keptWeights(store: StateStore, version: bigint): Promise<Uint8Array> {
  const content = await store.readVersion(Number(version));
  if (content !== undefined) return content;
  const { peer, version: current } = store.head;
  throw new ParleyError(
    'VERSION_NOT_KEPT',
    `Peer ${peer} (now at version ${current}) does not keep version ${version}; name a later one, or weights that were ` +
      'stored with Snapshot (PARLEY_KEEP_VERSIONS says how many are kept)',
    { details: { peer, version: String(version), current: String(current) } },
  );
}
